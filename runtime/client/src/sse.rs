//! Server-sent events, parsed from whatever pieces the network brings.

/// A message of the stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// Where to resume after it, if it says so.
    pub id: Option<String>,
    /// Its kind; none is a plain message.
    pub event: Option<String>,
    /// Its lines; empty for one that only moves the place to resume from.
    pub data: String,
}

/// The longest line that is kept; a longer one is dropped, so that a broken server cannot fill
/// the memory.
const LINE_MAX: usize = 1 << 20;

/// Turns bytes into messages.
#[derive(Debug, Default)]
pub struct Parser {
    line: Vec<u8>,
    overlong: bool,
    after_return: bool,
    message: Message,
    any: bool,
}

impl Parser {
    /// Takes bytes; answers the messages that they complete.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Message> {
        let mut done = Vec::new();
        for &byte in bytes {
            let after_return = std::mem::replace(&mut self.after_return, byte == b'\r');
            match byte {
                b'\n' if after_return => {}
                b'\n' | b'\r' => done.extend(self.end_line()),
                _ if self.line.len() >= LINE_MAX => self.overlong = true,
                _ => self.line.push(byte),
            }
        }
        done
    }

    fn end_line(&mut self) -> Option<Message> {
        let line = std::mem::take(&mut self.line);
        if std::mem::take(&mut self.overlong) {
            return None;
        }
        if line.is_empty() {
            let any = std::mem::take(&mut self.any);
            let mut message = std::mem::take(&mut self.message);
            if message.data.ends_with('\n') {
                message.data.pop();
            }
            return any.then_some(message);
        }
        let text = String::from_utf8_lossy(&line);
        let (name, value) = text.split_once(':').unwrap_or((&text, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "id" => self.message.id = Some(value.to_owned()),
            "event" => self.message.event = Some(value.to_owned()),
            "data" => {
                self.message.data.push_str(value);
                self.message.data.push('\n');
            }
            // Comments (an empty name) and fields of other versions.
            _ => return None,
        }
        self.any = true;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = ": hello\n\nid: 1\nevent: NodeReady\ndata: {\"a\":\ndata: 1}\n\n\
        id: 2\r\ndata:x\r\n\r\nretry: 3\n\nid: 3\n\n";

    fn all(pieces: impl Iterator<Item = Vec<u8>>) -> Vec<Message> {
        let mut parser = Parser::default();
        pieces.flat_map(|piece| parser.feed(&piece)).collect()
    }

    #[test]
    fn any_cut_gives_the_same_messages() {
        let whole = all(std::iter::once(STREAM.as_bytes().to_vec()));
        let expected = [
            (Some("1"), Some("NodeReady"), "{\"a\":\n1}"),
            (Some("2"), None, "x"),
            (Some("3"), None, ""),
        ];
        let found: Vec<_> = whole
            .iter()
            .map(|m| (m.id.as_deref(), m.event.as_deref(), m.data.as_str()))
            .collect();
        assert_eq!(found, expected);
        for size in 1..STREAM.len() {
            let pieces = STREAM.as_bytes().chunks(size).map(<[u8]>::to_vec);
            assert_eq!(all(pieces), whole, "in pieces of {size}");
        }
    }

    #[test]
    fn an_endless_line_fills_no_memory() {
        let mut parser = Parser::default();
        for _ in 0..3 {
            assert!(parser.feed(&vec![b'x'; LINE_MAX]).is_empty());
        }
        assert!(parser.line.len() <= LINE_MAX);
        assert!(parser.feed(b"\n\n").is_empty());
        assert_eq!(parser.feed(b"data: a\n\n").len(), 1);
    }
}
