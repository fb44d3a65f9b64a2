//! From a search that failed to the few operations that clash.

use crate::history::Operation;
use crate::model::Model;
use crate::search::{Found, Limits, Step, Stuck, search};
use crate::verdict::Clash;

/// A search for a smaller clash is worth this much work, ...
const STEPS: u64 = 20_000;
/// ... and so many searches, fewer in a long history, ...
const SEARCHES: usize = 400;
/// ... as each begins by sorting it. What they do not prove to be of no matter is shown.
const SORTED: usize = 2_000_000;
/// Nobody reads more operations than this.
const SHOWN: usize = 8;

/// The clash of a history that has no order from the return of `stuck` on.
///
/// What returned later cannot matter, but that it had not been called yet may. The times of as many
/// operations as possible are forgotten, such that there is still no order: an operation that may
/// take effect at any time or never only leaves more orders, so that those that keep their times
/// clash in the whole history as well.
pub(crate) fn clash<M: Model>(
    model: &M,
    history: &[Operation<M::Input, M::Output>],
    ids: &[u32],
    steps: &[Step<'_, M>],
    stuck: &Stuck<M::State>,
) -> Clash {
    let end = steps[stuck.step].ret;
    let mut order: Vec<usize> = (0..steps.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(steps[i].call));
    let until_end = |&i: &usize| {
        let step = steps[i].clone();
        if step.ret > end { step.without_return() } else { step }
    };
    let mut shrunk: Vec<Step<'_, M>> = order.iter().map(until_end).collect();
    let timed = forget(model, &mut shrunk, |place| order[place] != stuck.step);
    let culprit = ids[stuck.step] as usize;
    // The latest first, as the order is.
    let mut clashing: Vec<usize> = timed.iter().map(|&place| ids[order[place]] as usize).collect();
    clashing.sort_by_key(|&id| id != culprit);
    let more = match clashing.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" Whether the times of {more} other operations matter is open."),
    };
    clashing.truncate(SHOWN);
    let what = model.tell(
        &history[culprit].input,
        history[culprit].outcome.as_ref().map(|outcome| &outcome.output),
    );
    let claim = format!(
        "no order explains these operations ({what}). What had returned before #{culprit} did \
         has an order, such as one that leads to {}; with #{culprit} there is none.{more}",
        shorten(&format!("{:?}", stuck.state)),
    );
    Clash::new(model, history, clashing, claim)
}

/// Takes the times from as many steps as it can; returns the places of those that keep them.
fn forget<M: Model>(
    model: &M,
    steps: &mut [Step<'_, M>],
    may_forget: impl Fn(usize) -> bool,
) -> Vec<usize> {
    let limits = Limits { steps: STEPS, memory_words: STEPS * 20 };
    let mut timed: Vec<usize> = (0..steps.len()).collect();
    let mut chunk = timed.len();
    let mut searches_left = SEARCHES.min(SORTED / steps.len());
    while chunk > 0 {
        // From the earliest call on: what happened long ago is the least likely to matter.
        for places in timed.clone().chunks(chunk).rev() {
            if searches_left == 0 {
                return timed;
            }
            searches_left -= 1;
            let places: Vec<usize> = places.iter().copied().filter(|&p| may_forget(p)).collect();
            let before: Vec<_> = places.iter().map(|&p| steps[p].clone()).collect();
            places.iter().for_each(|&p| steps[p] = steps[p].without_times());
            if matches!(search(model, steps, &limits), Found::Nothing(_)) {
                timed.retain(|place| !places.contains(place));
            } else {
                places.iter().zip(before).for_each(|(&p, step)| steps[p] = step);
            }
        }
        chunk /= 2;
    }
    timed
}

/// The beginning of a long text.
fn shorten(text: &str) -> String {
    const LENGTH: usize = 80;
    match text.char_indices().nth(LENGTH) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_string(),
    }
}
