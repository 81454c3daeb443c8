//! The rows of a trace: nodes and pods.

use std::collections::BTreeSet;

use berth_core::admission::limits::{
    CPU_MILLICORES_MAX, MEMORY_MIB_MAX, NODE_CPU_MILLICORES_MAX, NODE_MEMORY_MIB_MAX,
};

use super::csv::{CsvError, Row, Table};

const NODES_MAX: usize = 100_000;
const PODS_MAX: usize = 1_000_000;
const GPUS_MAX: u64 = 1_024;
/// The latest time, in seconds: a hundred years.
const TIME_MAX: u64 = 100 * 366 * 86_400;

const NODE_COLUMNS: [&str; 4] = ["sn", "cpu_milli", "memory_mib", "gpu"];
const POD_COLUMNS: [&str; 7] = [
    "name",
    "cpu_milli",
    "memory_mib",
    "num_gpu",
    "creation_time",
    "deletion_time",
    "scheduled_time",
];

/// A node of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRow {
    /// Its name.
    pub name: String,
    /// Millicores.
    pub cpu: u64,
    /// MiB.
    pub memory: u64,
    /// How many GPUs it has.
    pub gpus: u64,
}

/// A pod of a trace. Times are seconds from the trace's beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodRow {
    /// Its name.
    pub name: String,
    /// Millicores.
    pub cpu: u64,
    /// MiB.
    pub memory: u64,
    /// How many GPUs it asked for, shares of one included.
    pub gpus: u64,
    /// When it arrived.
    pub created: u64,
    /// When it left.
    pub deleted: Option<u64>,
    /// When the cluster of the trace placed it, if it did.
    pub scheduled: Option<u64>,
}

/// Reads nodes: `sn,cpu_milli,memory_mib,gpu,model`. `file`: its name, for messages.
///
/// # Errors
/// It is not such a text; the message names line and column.
pub fn nodes(file: &str, text: &str) -> Result<Vec<NodeRow>, CsvError> {
    let mut table = Table::new(file, text, &NODE_COLUMNS, NODES_MAX)?;
    let mut all = Vec::new();
    let mut names = BTreeSet::new();
    while let Some(row) = table.next() {
        let row = row?;
        let node = NodeRow {
            name: once(&row, &mut names)?,
            cpu: row.number(1, NODE_CPU_MILLICORES_MAX)?,
            memory: row.number(2, NODE_MEMORY_MIB_MAX)?,
            gpus: row.number(3, GPUS_MAX)?,
        };
        for (which, amount) in [(1, node.cpu), (2, node.memory)] {
            if amount == 0 {
                return Err(row.error(which, "expected more than 0".to_owned()));
            }
        }
        all.push(node);
    }
    not_empty(file, all)
}

/// Reads pods:
/// `name,cpu_milli,memory_mib,num_gpu,…,creation_time,deletion_time,scheduled_time`.
///
/// # Errors
/// It is not such a text; the message names line and column.
pub fn pods(file: &str, text: &str) -> Result<Vec<PodRow>, CsvError> {
    let mut table = Table::new(file, text, &POD_COLUMNS, PODS_MAX)?;
    let mut all = Vec::new();
    let mut names = BTreeSet::new();
    while let Some(row) = table.next() {
        let row = row?;
        let pod = PodRow {
            name: once(&row, &mut names)?,
            cpu: row.number(1, CPU_MILLICORES_MAX)?,
            memory: row.number(2, MEMORY_MIB_MAX)?,
            gpus: row.number(3, GPUS_MAX)?,
            created: row.number(4, TIME_MAX)?,
            deleted: row.perhaps(5, TIME_MAX)?,
            scheduled: row.perhaps(6, TIME_MAX)?,
        };
        if let Some(deleted) = pod.deleted
            && deleted < pod.created
        {
            let problem = format!("expected {} or later, found {deleted}", pod.created);
            return Err(row.error(5, problem));
        }
        all.push(pod);
    }
    not_empty(file, all)
}

fn once(row: &Row<'_>, names: &mut BTreeSet<String>) -> Result<String, CsvError> {
    let name = row.text(0)?;
    if names.insert(name.to_owned()) {
        Ok(name.to_owned())
    } else {
        let problem = format!("expected each name once, found `{name}` again");
        Err(row.error(0, problem))
    }
}

fn not_empty<T>(file: &str, rows: Vec<T>) -> Result<Vec<T>, CsvError> {
    if rows.is_empty() {
        return Err(CsvError {
            file: file.to_owned(),
            line: 0,
            column: None,
            problem: "expected at least one row".to_owned(),
        });
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: &str = "sn,cpu_milli,memory_mib,gpu,model\n";
    const PODS: &str = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,\
                        creation_time,deletion_time,scheduled_time\n";

    #[test]
    fn rows_are_read_by_the_names_of_their_columns() {
        let text = "\u{feff}model,gpu,sn,memory_mib,cpu_milli\r\n,2,n-1,2048,1000\r\n\r\n";
        let node = NodeRow {
            name: "n-1".to_owned(),
            cpu: 1_000,
            memory: 2_048,
            gpus: 2,
        };
        assert_eq!(nodes("n.csv", text), Ok(vec![node]));
        let text = format!("{PODS}p-1,500,256,0,0,,LS,Running,7,,\np-2,1,0,1,460,,BE,x,8,9,8\n");
        let read = pods("p.csv", &text).unwrap();
        assert_eq!((read[0].deleted, read[0].scheduled), (None, None));
        assert_eq!((read[1].deleted, read[1].scheduled), (Some(9), Some(8)));
        assert_eq!((read[1].gpus, read[1].memory), (1, 0));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let of_nodes = [
            ("", "n.csv, line 1, column sn: expected in the header"),
            (
                "sn,cpu_milli,gpu\n",
                "line 1, column memory_mib: expected in the header",
            ),
            (NODES, "n.csv: expected at least one row"),
            (
                &format!("{NODES}a,1,2,0\n"),
                "line 2: expected 5 fields as in the header, found 4",
            ),
            (
                &format!("{NODES},1,2,0,\n"),
                "line 2, column sn: expected a name",
            ),
            (
                &format!("{NODES}a,1,2,0,\n\na,1,2,0,\n"),
                "line 4, column sn: expected each name once",
            ),
            (
                &format!("{NODES}a,1.5,2,0,\n"),
                "column cpu_milli: expected a whole number",
            ),
            (
                &format!("{NODES}a,0,2,0,\n"),
                "column cpu_milli: expected more than 0",
            ),
            (
                &format!("{NODES}a,1,-2,0,\n"),
                "column memory_mib: expected a whole number",
            ),
            (
                &format!("{NODES}\"a\",1,2,0,\n"),
                "line 2: expected fields without quotes",
            ),
            (
                &format!("{NODES}a,1,2,99999,\n"),
                "column gpu: expected a whole number of 0 to 1024",
            ),
        ];
        for (text, expected) in of_nodes {
            let error = nodes("n.csv", text).expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        let of_pods = [
            (
                "a,1,2,0,0,,,,5,4,",
                "line 2, column deletion_time: expected 5 or later, found 4",
            ),
            (
                "a,1,2,0,0,,,,,4,",
                "column creation_time: expected a whole number",
            ),
            (
                "a,1,2,0,0,,,,1,x,",
                "column deletion_time: expected a whole number",
            ),
            (
                "a,1000001,2,0,0,,,,1,2,",
                "column cpu_milli: expected a whole number of 0 to",
            ),
        ];
        for (row, expected) in of_pods {
            let error = pods("p.csv", &format!("{PODS}{row}\n"));
            let error = error.expect_err(row).to_string();
            assert!(error.contains(expected), "{row}: {error}");
        }
    }
}
