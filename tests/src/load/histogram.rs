//! Latencies, counted.

use std::time::Duration;

/// Latencies in buckets that are 1/64 of their value wide.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max_us: u64,
}

/// Buckets in each power of two.
const SUB_BITS: u32 = 6;

impl Histogram {
    /// Counts a latency.
    pub fn record(&mut self, latency: Duration) {
        let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        let at = bucket(us);
        if self.counts.len() <= at {
            self.counts.resize(at + 1, 0);
        }
        self.counts[at] += 1;
        self.total += 1;
        self.max_us = self.max_us.max(us);
    }

    pub fn count(&self) -> u64 {
        self.total
    }

    /// The latency in milliseconds that `share` (0 to 1) of them do not exceed; 0 of none.
    pub fn quantile_ms(&self, share: f64) -> f64 {
        let wanted = as_f64(self.total) * share;
        let mut seen = 0;
        for (at, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen > 0 && as_f64(seen) >= wanted {
                return as_f64(upper(at).min(self.max_us)) / 1_000.0;
            }
        }
        as_f64(self.max_us) / 1_000.0
    }

    pub fn max_ms(&self) -> f64 {
        as_f64(self.max_us) / 1_000.0
    }

    /// Points (percentile, ms) of a curve.
    pub fn curve(&self) -> Vec<(f64, f64)> {
        [
            0.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 100.0,
        ]
        .into_iter()
        .map(|percent| (percent, self.quantile_ms(percent / 100.0)))
        .collect()
    }
}

fn bucket(us: u64) -> usize {
    let size = 1u64 << SUB_BITS;
    if us < size {
        return usize::try_from(us).unwrap_or(0);
    }
    let shift = us.ilog2() - SUB_BITS;
    let within = (us >> shift) - size;
    usize::try_from(u64::from(shift + 1) * size + within).unwrap_or(0)
}

/// The largest latency in microseconds of a bucket.
fn upper(at: usize) -> u64 {
    let size = 1usize << SUB_BITS;
    if at < size {
        return as_u64(at);
    }
    let (shift, within) = (at / size - 1, at % size);
    ((as_u64(size + within) + 1) << shift) - 1
}

fn as_u64(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
pub(super) fn as_f64(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_what_is_put_in_it_and_is_narrow() {
        for us in [
            0,
            1,
            63,
            64,
            65,
            127,
            128,
            1_000,
            29_999,
            1_000_000,
            5_000_000_000,
        ] {
            let top = upper(bucket(us));
            assert!(us <= top, "{us} {top}");
            assert!(top - us <= us / 64 + 1, "{us} {top}");
        }
    }

    #[test]
    fn quantiles_are_those_of_the_sorted_list() {
        let mut all = Histogram::default();
        for ms in 1..=100 {
            all.record(Duration::from_millis(ms));
        }
        let near = |share: f64, ms: f64| (all.quantile_ms(share) - ms).abs() <= ms / 60.0;
        assert!(near(0.5, 50.0) && near(0.99, 99.0) && near(1.0, 100.0));
        assert_eq!(Histogram::default().quantile_ms(0.5), 0.0);
    }
}
