//! `onrush top`: what members do right now, as they tell it over HTTP.
//!
//! Two looks at all members, a second apart, give rates ([`board`]), and findings with a command each ([`finding`]). On a
//! terminal it is drawn again with every look ([`screen`]).

mod board;
mod finding;
mod report;
mod screen;

use std::time::Duration;

use clap::Args;
use onrush::view::View;
use onrush_runtime::{Disk, Fault, Runtime};
use tokio::time::sleep;

use self::board::Board;
use self::screen::Screen;
use crate::duration;
use crate::failure::{Exit, Failure};
use crate::interrupt::Interrupt;
use crate::peer::{Peer, PeerError};
use crate::stdout;
use crate::table;

/// Show what members do right now: rates, lag, what is slow, stuck or hot.
#[derive(Debug, Args)]
#[command(after_help = "\
Members show themselves with Consumer::http(address), `onrush demo` with --http.
FINISHED is events per second, OPEN FOR the age of the oldest event without an outcome. Without a terminal, or with --once or
--json, one look is printed.

Examples:
  onrush top localhost:9100
  onrush top 10.0.0.7:9100 10.0.0.8:9100 --once
  onrush top localhost:9100 --json | jq '.findings[].finding'")]
pub(crate) struct Arguments {
    /// Where members show themselves over HTTP.
    #[arg(required = true, value_name = "HOST:PORT")]
    members: Vec<Peer>,
    /// Time between two looks.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration::parse)]
    every: Duration,
    /// Print one look, also on a terminal.
    #[arg(long)]
    once: bool,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// What a member said.
#[derive(Debug)]
struct Look {
    peer: Peer,
    view: Result<View, PeerError>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let runtime = Runtime::production(Disk::memory());
    let executor = runtime.spawn.executor("top", 1).map_err(Failure::threads)?;
    executor.block_on(async {
        let mut interrupt = Interrupt::listen();
        let redraws = !arguments.once && !arguments.json && stdout::is_terminal();
        tokio::select! {
            biased;
            () = interrupt.requested() => match redraws {
                true => Ok(()),
                false => Err(Failure::new(Exit::Interrupted, "interrupted")),
            },
            outcome = top(arguments, redraws) => outcome,
        }
    })
}

async fn top(arguments: &Arguments, redraws: bool) -> Result<(), Failure> {
    let mut before = looks(&arguments.members).await;
    if let Some(error) = nobody(&before) {
        return Err(error);
    }
    // Restored when this is dropped, be it by an interruption.
    let mut screen = redraws.then(Screen::enter).transpose()?;
    loop {
        sleep(arguments.every).await;
        let after = looks(&arguments.members).await;
        let board = Board::of(&before, &after);
        match &mut screen {
            Some(screen) => screen.draw(&report::text(&board))?,
            None if arguments.json => return table::print_json([report::json(&board)]),
            None => return table::print(&report::text(&board)),
        }
        before = after;
    }
}

async fn looks(peers: &[Peer]) -> Vec<Look> {
    let mut looks = Vec::new();
    for peer in peers {
        looks.push(Look { peer: peer.clone(), view: peer.snapshot().await });
    }
    looks
}

/// Why there is nothing to show, if there is nothing.
fn nobody(looks: &[Look]) -> Option<Failure> {
    let said = |look: &Look| {
        let error = look.view.as_ref().err()?;
        Some(format!("{}: {error}", look.peer))
    };
    let said: Vec<_> = looks.iter().filter_map(said).collect();
    (said.len() == looks.len()).then(|| {
        let message = format!("no member shows itself: {}", said.join("; "));
        Failure::unavailable(message).code(Fault::Unreachable)
    })
}
