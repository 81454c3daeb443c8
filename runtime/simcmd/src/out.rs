//! What is written for people and programs: whoever stops listening (`| head`) ends nothing.

use std::io::{ErrorKind, Result, Write};

use serde_json::Value;

/// Standard output. Once nobody reads it, what is written goes nowhere: the exit code still tells
/// how it ended.
#[derive(Debug)]
pub(super) struct Out<W> {
    to: W,
    heard: bool,
}

/// Standard output of this process.
pub(super) fn stdout() -> Out<std::io::Stdout> {
    Out::new(std::io::stdout())
}

impl<W: Write> Out<W> {
    const fn new(to: W) -> Self {
        Self { to, heard: true }
    }

    fn told<T>(&mut self, done: Result<T>, unheard: T) -> Result<T> {
        match done {
            Err(problem) if problem.kind() == ErrorKind::BrokenPipe => {
                self.heard = false;
                Ok(unheard)
            }
            done => done,
        }
    }
}

impl<W: Write> Write for Out<W> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        if !self.heard {
            return Ok(bytes.len());
        }
        let done = self.to.write(bytes);
        self.told(done, bytes.len())
    }

    fn flush(&mut self) -> Result<()> {
        if !self.heard {
            return Ok(());
        }
        let done = self.to.flush();
        self.told(done, ())
    }
}

/// Writes a value, for programs.
pub(super) fn json(value: &Value) -> anyhow::Result<()> {
    let mut out = stdout();
    writeln!(out, "{}", serde_json::to_string_pretty(value)?)?;
    Ok(())
}

/// Writes on standard error, for people who wait: if nobody listens, so be it.
pub(super) fn aside(text: &str) {
    let mut err = std::io::stderr().lock();
    let _unheard = err.write_all(text.as_bytes()).and_then(|()| err.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes, then breaks.
    struct Pipe(usize, ErrorKind);

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> Result<usize> {
            let taken = bytes.len().min(self.0);
            self.0 -= taken;
            if taken == 0 {
                return Err(self.1.into());
            }
            Ok(taken)
        }

        fn flush(&mut self) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nobody_listening_is_no_failure_and_a_full_disk_is_one() {
        let mut out = Out::new(Pipe(3, ErrorKind::BrokenPipe));
        for _ in 0..3 {
            assert!(writeln!(out, "many words").is_ok());
        }
        assert!(out.flush().is_ok());
        let mut out = Out::new(Pipe(3, ErrorKind::StorageFull));
        assert!(writeln!(out, "many words").is_err());
    }
}
