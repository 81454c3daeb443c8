//! `berth store`: what an operator decides about the store itself. It talks to the store, and not to
//! a scheduler: none leads then.

use anyhow::anyhow;
use berth_server::StoreArgs;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Say that the store is to be believed although it was restored from an older snapshot, was
    /// emptied, or is another one: schedulers lead again, with what it holds now. What was written
    /// after the snapshot is lost for good
    AcceptRestore {
        /// One that no store had before, as the scheduler's refusal names it
        #[arg(long, value_name = "NUMBER")]
        generation: Option<u32>,
        /// The way to the store, as schedulers go it
        #[command(flatten)]
        store: Box<StoreArgs>,
    },
}

/// Carries out the operator's word.
///
/// # Errors
/// A wrong configuration, or what the store says.
pub(crate) async fn run(command: StoreCommand) -> anyhow::Result<()> {
    let StoreCommand::AcceptRestore { generation, store } = command;
    let config = store.resolve()?;
    let store = berth_server::etcd(&config)?;
    let accepted = berth_driver::store::accept_restore(&store, &config.prefix, generation)
        .await
        .map_err(|why| anyhow!(why))?;
    if let Some(why) = accepted.was_closed {
        println!("it was closed to schedulers: {why}");
    }
    println!(
        "the store is believed, as generation {}",
        accepted.generation
    );
    Ok(())
}
