//! Prometheus' text format, for figures that somebody else keeps.

use std::fmt::Write;

/// What a family is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It comes and goes.
    Gauge,
    /// It is a distribution.
    Histogram,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Collects families.
#[derive(Debug, Default)]
pub struct Text {
    out: String,
    family: String,
}

impl Text {
    /// Goes on behind `out`.
    #[must_use]
    pub fn new(out: String) -> Self {
        Self {
            out,
            family: String::new(),
        }
    }

    /// Begins a family. Its samples follow.
    pub fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let _ = writeln!(
            self.out,
            "# HELP {name} {help}\n# TYPE {name} {}",
            kind.name()
        );
        name.clone_into(&mut self.family);
    }

    /// A sample of the family, with the labels given.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: u64) {
        let Self { out, family } = self;
        out.push_str(family);
        write_labels(out, labels, None);
        let _ = writeln!(out, " {value}");
    }

    /// A family of one sample.
    pub fn single(&mut self, name: &str, kind: Kind, help: &str, value: u64) {
        self.family(name, kind, help);
        self.sample(&[], value);
    }

    /// A histogram of the family. `buckets` has one entry more than `bounds`: what lies above the
    /// last; entries are not cumulative. `unit` is what bounds and sum are divided by: 1e6 for
    /// microseconds.
    #[allow(clippy::cast_precision_loss)] // Shown only; 2^53 microseconds are 285 years.
    pub fn histogram(
        &mut self,
        labels: &[(&str, &str)],
        bounds: &[u64],
        buckets: &[u64],
        sum: u64,
        unit: f64,
    ) {
        let Self { out, family } = self;
        let mut count: u64 = 0;
        for (at, bucket) in buckets.iter().enumerate() {
            count = count.saturating_add(*bucket);
            let bound = bounds.get(at).map_or_else(
                || "+Inf".to_owned(),
                |bound| (*bound as f64 / unit).to_string(),
            );
            let _ = write!(out, "{family}_bucket");
            write_labels(out, labels, Some(&bound));
            let _ = writeln!(out, " {count}");
        }
        let _ = write!(out, "{family}_sum");
        write_labels(out, labels, None);
        let _ = writeln!(out, " {}", sum as f64 / unit);
        let _ = write!(out, "{family}_count");
        write_labels(out, labels, None);
        let _ = writeln!(out, " {count}");
    }

    /// The text.
    #[must_use]
    pub fn finish(self) -> String {
        self.out
    }
}

fn write_labels(out: &mut String, labels: &[(&str, &str)], bound: Option<&str>) {
    let pairs = labels
        .iter()
        .copied()
        .chain(bound.map(|bound| ("le", bound)));
    let mut separator = '{';
    for (name, value) in pairs {
        let value = value
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n");
        let _ = write!(out, "{separator}{name}=\"{value}\"");
        separator = ',';
    }
    if separator == ',' {
        out.push('}');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format() {
        let mut text = Text::new("before 1\n".to_owned());
        text.single("a_total", Kind::Counter, "Counts.", 3);
        text.family("b", Kind::Gauge, "Is.");
        text.sample(&[("x", "a\"b\\c\nd"), ("y", "2")], 4);
        text.family("c_seconds", Kind::Histogram, "Takes.");
        text.histogram(
            &[("k", "v")],
            &[1000, 2_500_000],
            &[1, 2, 4],
            1_500_000,
            1e6,
        );
        let expected = "before 1\n# HELP a_total Counts.\n# TYPE a_total counter\na_total 3\n\
            # HELP b Is.\n# TYPE b gauge\nb{x=\"a\\\"b\\\\c\\nd\",y=\"2\"} 4\n\
            # HELP c_seconds Takes.\n# TYPE c_seconds histogram\n\
            c_seconds_bucket{k=\"v\",le=\"0.001\"} 1\nc_seconds_bucket{k=\"v\",le=\"2.5\"} 3\n\
            c_seconds_bucket{k=\"v\",le=\"+Inf\"} 7\nc_seconds_sum{k=\"v\"} 1.5\n\
            c_seconds_count{k=\"v\"} 7\n";
        assert_eq!(text.finish(), expected);
    }
}
