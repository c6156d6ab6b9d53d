//! Whether anything moves in a job. Arroyo shows rates that fade, never counts: while nothing comes, each value is the
//! same fraction of the one before it, or zero.

use super::api::{Metric, OperatorMetrics};

/// Rates that show whether records move.
const RATES: [&str; 2] = ["messages_recv", "messages_sent"];
/// Fewest values that show it.
const MIN_VALUES: usize = 4;
/// Rates below this are none: less than a record in a hundred years.
const NONE: f64 = 1e-9;
/// How exactly a fraction is the same; one record among a million a second shows.
const SAME: f64 = 1e-8;

/// Whether nothing has moved in any operator since `since_us`, by Arroyo's clock.
pub(crate) fn is_quiet(operators: &[OperatorMetrics], since_us: u64) -> bool {
    let groups = operators.iter().flat_map(|operator| &operator.metric_groups);
    let tasks = groups.filter(|group| RATES.contains(&group.name.as_str())).flat_map(|group| &group.subtasks);
    let mut is_shown = false;
    for task in tasks {
        is_shown = true;
        if !is_still(&task.metrics, since_us) {
            return false;
        }
    }
    is_shown
}

/// The time of the newest value, by Arroyo's clock.
pub(crate) fn newest_us(operators: &[OperatorMetrics]) -> Option<u64> {
    let groups = operators.iter().flat_map(|operator| &operator.metric_groups);
    let metrics = groups.flat_map(|group| &group.subtasks).flat_map(|task| &task.metrics);
    metrics.map(|metric| metric.time).max()
}

fn is_still(values: &[Metric], since_us: u64) -> bool {
    // The value before belongs to it: the first step after `since_us` is taken from there.
    let first = values.iter().position(|metric| metric.time >= since_us).map(|first| first.saturating_sub(1));
    let Some(values) = first.map(|first| &values[first..]).filter(|values| values.len() >= MIN_VALUES) else {
        return false;
    };
    let mut fraction = None;
    values.windows(2).all(|pair| {
        let (earlier, later) = (pair[0].value, pair[1].value);
        if earlier < NONE && later < NONE {
            return true;
        }
        let step = later / earlier;
        // A steady rate is the same fraction too: one.
        step < 0.999 && (step - *fraction.get_or_insert(step)).abs() < SAME
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deploy::api::{MetricGroup, SubtaskMetrics};

    /// Rates as Arroyo makes them of the records of each 2 s.
    fn shown(records: &[u32]) -> Vec<OperatorMetrics> {
        let mut rate: Option<f64> = None;
        let metrics = records.iter().zip(0..).map(|(records, at)| {
            let now = f64::from(*records) / 2.001;
            let value = *rate.insert(rate.map_or(now, |rate| 0.9 * rate + 0.1 * now));
            Metric { time: at * 2_001_000, value }
        });
        let subtasks = vec![SubtaskMetrics { metrics: metrics.collect() }];
        vec![OperatorMetrics { metric_groups: vec![MetricGroup { name: "messages_recv".to_owned(), subtasks }] }]
    }

    #[test]
    fn a_fading_rate_is_quiet() {
        assert!(is_quiet(&shown(&[1_000_000, 20, 0, 0, 0, 0, 0, 0]), 5_000_000));
        assert!(is_quiet(&shown(&[0; 8]), 5_000_000));
    }

    #[test]
    fn one_record_is_not_quiet() {
        assert!(!is_quiet(&shown(&[1_000_000, 0, 0, 0, 0, 1, 0, 0]), 5_000_000));
        assert!(!is_quiet(&shown(&[1_000_000, 0, 0, 0, 0, 0, 0, 1]), 5_000_000));
        assert!(!is_quiet(&shown(&[0, 0, 0, 0, 0, 0, 0, 1]), 5_000_000));
    }

    #[test]
    fn a_steady_rate_is_not_quiet() {
        assert!(!is_quiet(&shown(&[500; 8]), 5_000_000));
    }

    #[test]
    fn what_is_not_shown_is_not_quiet() {
        assert!(!is_quiet(&[], 0));
        assert!(!is_quiet(&shown(&[0, 0]), 0), "too few values");
        assert!(!is_quiet(&shown(&[0; 8]), 60_000_000), "too old");
    }
}
