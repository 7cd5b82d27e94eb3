//! What the demo computes: per carrier and origin, how many flights, how many cancelled, and how late the others left.
use super::results::Row;
use super::series::Series;

/// One bucket for every delay that an event can hold, so that the histogram is exact. Untouched pages cost nothing.
const BUCKETS: usize = 1 << 16;

/// Sums and exact histograms; tallies of disjoint events add up.
#[derive(Clone)]
pub(crate) struct Tally {
    counts: [Counts; Series::COUNT],
    histogram: Vec<u32>,
}

/// The sums of one series.
#[derive(Clone, Copy, Default)]
struct Counts {
    flights: u64,
    cancelled: u64,
    minutes: i64,
}

impl Tally {
    /// Nothing counted yet.
    pub(crate) fn new() -> Self {
        Self {
            counts: [Counts::default(); Series::COUNT],
            histogram: vec![0; Series::COUNT * BUCKETS],
        }
    }

    /// Counts one flight.
    pub(crate) fn count(&mut self, series: Series, delay: Option<i16>) {
        let counts = &mut self.counts[series.index()];
        counts.flights += 1;
        match delay {
            None => counts.cancelled += 1,
            Some(minutes) => {
                counts.minutes += i64::from(minutes);
                self.histogram[series.index() * BUCKETS + bucket(minutes)] += 1;
            }
        }
    }

    /// Adds what another tally has counted.
    pub(crate) fn add(&mut self, other: &Self) {
        for (counts, others) in self.counts.iter_mut().zip(&other.counts) {
            counts.flights += others.flights;
            counts.cancelled += others.cancelled;
            counts.minutes += others.minutes;
        }
        for (bucket, others) in self.histogram.iter_mut().zip(&other.histogram) {
            *bucket += others;
        }
    }

    /// The result table: the series that have flights, by carrier, then origin.
    pub(crate) fn table(&self) -> Vec<Row> {
        Series::all()
            .filter(|series| self.counts[series.index()].flights > 0)
            .map(|series| self.row(series))
            .collect()
    }

    fn row(&self, series: Series) -> Row {
        let counts = self.counts[series.index()];
        let left = counts.flights - counts.cancelled;
        Row {
            carrier: series.carrier().to_owned(),
            origin: series.origin().to_owned(),
            flights: counts.flights,
            cancelled: counts.cancelled,
            mean_hundredths: (left > 0).then(|| (counts.minutes * 100).div_euclid(left as i64)),
            p99: self.percentile_99(series, left),
        }
    }

    /// The delay at the nearest rank: the smallest that at least 99 of 100 flights do not exceed.
    fn percentile_99(&self, series: Series, left: u64) -> Option<i16> {
        let rank = (left * 99).div_ceil(100);
        let mut below = 0;
        let start = series.index() * BUCKETS;
        let histogram = &self.histogram[start..start + BUCKETS];
        let reached = |&count: &u32| {
            below += u64::from(count);
            below >= rank
        };
        let bucket = histogram.iter().position(reached)?;
        (left > 0).then(|| (bucket as i64 + i64::from(i16::MIN)) as i16)
    }
}

fn bucket(minutes: i16) -> usize {
    (i32::from(minutes) - i32::from(i16::MIN)) as usize
}

#[cfg(test)]
mod tests {
    use super::super::flights::loaded;
    use super::*;

    fn series() -> Series {
        Series::new("UA", "EWR").expect("known")
    }

    fn row_of(delays: impl IntoIterator<Item = Option<i16>>) -> Row {
        let mut tally = Tally::new();
        for delay in delays {
            tally.count(series(), delay);
        }
        tally.table().remove(0)
    }

    #[test]
    fn the_mean_is_rounded_down_also_below_zero() {
        assert_eq!(row_of([Some(1), Some(1), Some(0)]).mean_hundredths, Some(66));
        assert_eq!(row_of([Some(-1), Some(0), Some(0)]).mean_hundredths, Some(-34));
        assert_eq!(row_of([Some(-2), None]).mean_hundredths, Some(-200));
    }

    #[test]
    fn the_percentile_is_the_nearest_rank() {
        for (count, expected) in [(1, 1), (99, 99), (100, 99), (101, 100), (200, 198)] {
            assert_eq!(row_of((1..=count).map(Some)).p99, Some(expected), "{count} delays");
        }
        assert_eq!(row_of([Some(i16::MIN)]).p99, Some(i16::MIN));
        assert_eq!(row_of([Some(i16::MAX)]).p99, Some(i16::MAX));
    }

    #[test]
    fn all_cancelled_has_neither_mean_nor_percentile() {
        let row = row_of([None, None]);
        assert_eq!((row.flights, row.cancelled), (2, 2));
        assert_eq!((row.mean_hundredths, row.p99), (None, None));
    }

    #[test]
    fn parts_add_up_to_the_whole_and_to_the_known_counts() {
        let (mut whole, mut odd, mut even) = (Tally::new(), Tally::new(), Tally::new());
        for (index, flight) in loaded().all().iter().enumerate() {
            whole.count(flight.series, flight.delay);
            let part = if index % 2 == 0 { &mut even } else { &mut odd };
            part.count(flight.series, flight.delay);
        }
        odd.add(&even);
        let table = whole.table();
        assert_eq!(odd.table(), table);
        assert_eq!(table.len(), 35);
        assert_eq!(table.iter().map(|row| row.flights).sum::<u64>(), 336_776);
        assert_eq!(table.iter().map(|row| row.cancelled).sum::<u64>(), 8_255);
        let united = table.iter().find(|row| row.carrier == "UA" && row.origin == "EWR");
        assert_eq!(united.map(|row| row.flights), Some(46_087));
    }
}
