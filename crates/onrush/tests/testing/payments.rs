//! The application under test: it pays, and writes receipts.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};

use onrush::prelude::*;
use onrush::testing::{Record, TestBed};

/// What stands downstream: an account per customer, with every payment in the order of its arrival.
#[derive(Clone, Default)]
pub(crate) struct Bank(Arc<Mutex<BTreeMap<String, Vec<u32>>>>);

impl Bank {
    pub(crate) fn pay(&self, customer: &str, amount: u32) {
        let mut accounts = self.0.lock().expect("no panic under the lock");
        accounts.entry(customer.to_owned()).or_default().push(amount);
    }

    pub(crate) fn account(&self, customer: &str) -> Vec<u32> {
        let accounts = self.0.lock().expect("no panic under the lock");
        accounts.get(customer).cloned().unwrap_or_default()
    }

    pub(crate) fn payments(&self) -> usize {
        self.0.lock().expect("no panic under the lock").values().map(Vec::len).sum()
    }
}

pub(crate) fn customer<'a>(event: &Event<'a>) -> &'a str {
    event.key.and_then(|key| std::str::from_utf8(key).ok()).unwrap_or_default()
}

pub(crate) fn amount(event: &Event<'_>) -> Result<u32, HandlerError> {
    Ok(std::str::from_utf8(event.value.unwrap_or_default())?.parse()?)
}

pub(crate) fn billing() -> Consumer {
    Consumer::new("localhost:9092").group("billing").topic("payments")
}

pub(crate) fn workers(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).expect("not zero")
}

/// A bed with what the application needs, and the application in it.
pub(crate) fn paying(seed: u64, partitions: i32) -> (TestBed, Bank, onrush::testing::App) {
    let (test, bank) = (TestBed::seeded(seed), Bank::default());
    test.topic("payments", partitions);
    let to = bank.clone();
    let app = test.run(billing().each(move |event, _| {
        to.pay(customer(event), amount(event)?);
        Ok(())
    }));
    (test, bank, app)
}

/// Payments of as many customers, in the order of their amounts.
pub(crate) fn send(test: &TestBed, count: u32, customers: u32) -> Vec<Record> {
    let payment = |amount: u32| (format!("customer-{}", amount % customers), amount.to_string());
    test.send_all("payments", (0..count).map(payment))
}

/// Whether each account got what was sent for it, in order, and nothing twice.
pub(crate) fn assert_paid_once(bank: &Bank, count: u32, customers: u32) {
    for customer in 0..customers {
        let sent: Vec<u32> = (0..count).filter(|amount| amount % customers == customer).collect();
        assert_eq!(bank.account(&format!("customer-{customer}")), sent);
    }
}
