scenarios! {
    "agent-amnesia",
}
