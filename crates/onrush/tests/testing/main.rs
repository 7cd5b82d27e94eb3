//! The test bed, as its users meet it: what it lets happen, what it lets them see, and what it catches.

mod catching;
mod chances;
mod happening;
mod payments;
