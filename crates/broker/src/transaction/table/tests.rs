// SPDX-License-Identifier: Apache-2.0
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use proptest::prelude::*;
use store::LogPos;

use super::*;

fn half(print: u64, is_copy: bool) -> Half {
    Half {
        pos: 0,
        born_at: 0,
        born_host: (Ipv4Addr::LOCALHOST, 1).into(),
        checks: 0,
        immunity_ms: None,
        group: Str::const_new("PG"),
        topic: Str::const_new("T"),
        print,
        is_copy,
        asked: None,
    }
}

fn gate(end: i64, generation: u32) -> Gate {
    Gate {
        end: LogPos(end),
        generation,
    }
}

/// The table beside the simplest thing that does the same: who has a copy where, and what has ended.
struct Model {
    table: Table,
    /// By offset: which transaction.
    halves: Vec<u64>,
    /// The transactions that have ended.
    ended: BTreeSet<u64>,
    /// What was appended and is not written: what comes back when it is not.
    unwritten: Vec<Step>,
    written: i64,
    appended: i64,
    generation: u32,
    op_offset: i64,
    /// Op records by offset with the halves they end.
    ops: BTreeMap<i64, Vec<i64>>,
}

enum Step {
    Ended(u64, i64),
    Copied,
}

impl Model {
    fn new() -> Model {
        Model {
            table: Table::starting_at(0, 0),
            halves: Vec::new(),
            ended: BTreeSet::new(),
            unwritten: Vec::new(),
            written: 0,
            appended: 0,
            generation: 0,
            op_offset: 0,
            ops: BTreeMap::new(),
        }
    }

    fn append(&mut self) -> Gate {
        self.appended += 1;
        gate(self.appended, self.generation)
    }

    fn settle(&mut self) {
        let (written, generation) = (self.written, self.generation);
        self.table.settle(|gate| {
            if gate.end.0 <= written && gate.generation <= generation {
                GateState::Passed
            } else if gate.generation < generation {
                GateState::Failed
            } else {
                GateState::Waiting
            }
        });
    }

    /// Everything appended is written, or nothing of it.
    fn write(&mut self, is_good: bool) {
        if is_good {
            self.written = self.appended;
        } else {
            self.generation += 1;
            // Positions are never used again here, so that a gate of the past cannot pass.
            self.appended += 1;
            for step in self.unwritten.drain(..) {
                match step {
                    Step::Ended(transaction, op) => {
                        self.ended.remove(&transaction);
                        self.ops.remove(&op);
                        self.op_offset -= 1;
                    }
                    Step::Copied => {
                        self.halves.pop();
                    }
                }
            }
        }
        self.unwritten.clear();
        self.settle();
    }

    fn send(&mut self) {
        // Halves are written at once here: nobody knows of one that is not.
        self.write(true);
        self.halves.push(1000 + self.halves.len() as u64);
    }

    fn scan(&mut self, run: i64) {
        self.write(true);
        let end = self.halves.len() as i64;
        if let Some(range) = self.table.unknown(end, run) {
            let found = range
                .clone()
                .map(|offset| (offset, half(self.halves[offset as usize], false)));
            let found = found.collect();
            self.table.learn(range, found);
        }
    }

    fn end(&mut self, pick: usize) {
        if self.halves.is_empty() {
            return;
        }
        let offset = pick % self.halves.len();
        let transaction = self.halves[offset];
        self.settle();
        match self.table.standing(offset as i64, transaction) {
            Standing::Open(current) => {
                assert!(!self.ended.contains(&transaction), "ended twice");
                assert_eq!(self.halves[current as usize], transaction);
                let gate = self.append();
                let mut offsets = vec![current];
                if current != offset as i64 {
                    offsets.push(offset as i64);
                }
                self.table.end(current, gate);
                let last = offsets.iter().copied().max().unwrap();
                self.table.note_op(self.op_offset, last);
                self.ops.insert(self.op_offset, offsets);
                self.unwritten.push(Step::Ended(transaction, self.op_offset));
                self.op_offset += 1;
                self.ended.insert(transaction);
            }
            Standing::Ending(_) | Standing::Ended(_) => {
                assert!(self.ended.contains(&transaction), "{offset} has not ended");
            }
        }
    }

    fn copy(&mut self, pick: usize) {
        self.settle();
        let open: Vec<i64> = self.table.pending_from(0).map(|(offset, _)| offset).collect();
        let Some(offset) = open.get(pick % open.len().max(1)).copied() else {
            return;
        };
        let transaction = self.halves[offset as usize];
        let gate = self.append();
        let copy = (self.halves.len() as i64, half(transaction, true));
        self.table.replace(Some(offset), copy, gate);
        self.halves.push(transaction);
        self.unwritten.push(Step::Copied);
    }

    fn check(&mut self) {
        self.settle();
        let progress = self.table.progress();
        let newest: BTreeMap<u64, i64> = (0..).zip(&self.halves).map(|(offset, t)| (*t, offset)).collect();
        for (transaction, offset) in &newest {
            if !self.ended.contains(transaction) {
                assert!(*offset >= progress, "{offset} is forgotten, progress {progress}");
            }
        }
        let ops = self.table.ops_progress(progress);
        for (op, halves) in &self.ops {
            if halves.iter().any(|half| *half >= progress) {
                assert!(*op >= ops, "op record {op} of {halves:?} is forgotten");
            }
        }
    }
}

#[derive(Debug, Clone)]
enum Act {
    Send,
    Scan(i64),
    End(usize),
    Copy(usize),
    Write(bool),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => Just(Act::Send),
        2 => (1_i64..80).prop_map(Act::Scan),
        6 => any::<usize>().prop_map(Act::End),
        2 => any::<usize>().prop_map(Act::Copy),
        2 => any::<bool>().prop_map(Act::Write),
    ]
}

proptest! {
    #[test]
    fn a_transaction_ends_once_and_nothing_that_has_not_is_forgotten(acts in proptest::collection::vec(act(), 0..200)) {
        let mut model = Model::new();
        for act in acts {
            match act {
                Act::Send => model.send(),
                Act::Scan(run) => model.scan(run),
                Act::End(pick) => model.end(pick),
                Act::Copy(pick) => model.copy(pick),
                Act::Write(is_good) => model.write(is_good),
            }
            model.check();
        }
        model.write(true);
        model.scan(1000);
        model.check();
        let pending: BTreeSet<u64> = model.table.pending_from(0).map(|(_, half)| half.print).collect();
        let open: BTreeSet<u64> = model.halves.iter().copied().filter(|t| !model.ended.contains(t)).collect();
        let known = model.table.scanned() == model.halves.len() as i64;
        prop_assert!(!known || pending == open, "{:?} {:?}", pending, open);
    }
}

#[test]
fn who_asks_again_waits_for_the_record_that_ended_it() {
    let mut table = Table::starting_at(0, 0);
    table.learn(0..2, vec![(0, half(1, false)), (1, half(2, false))]);
    assert_eq!(table.standing(9, 9), Standing::Open(9), "nobody looked there");
    table.end(0, gate(10, 0));
    assert_eq!(table.standing(0, 1), Standing::Ending(gate(10, 0)));
    table.settle(|_| GateState::Passed);
    assert_eq!(table.standing(0, 1), Standing::Ended(Some(gate(10, 0))));
    table.end(1, gate(20, 0));
    table.settle(|_| GateState::Failed);
    assert_eq!(table.standing(1, 2), Standing::Open(1));
    assert_eq!(table.standing(0, 1), Standing::Ended(Some(gate(10, 0))));
}

#[test]
fn without_op_records_the_progress_on_them_stays_where_it_was() {
    let mut table = Table::starting_at(7, 5);
    assert_eq!((table.progress(), table.ops_progress(7)), (7, 5));
    table.note_op(5, 8);
    assert_eq!((table.ops_progress(7), table.ops_progress(9)), (5, 6));
}

#[test]
fn bits_forget_what_lies_before() {
    let mut bits = Bits::starting_at(10);
    for offset in [10, 73, 74, 500] {
        bits.set(offset);
    }
    bits.set(3);
    bits.forget_below(74);
    assert_eq!(
        [73, 74, 75, 500, 501, 3].map(|offset| bits.get(offset)),
        [false, true, false, true, false, false]
    );
    bits.forget_below(100_000);
    bits.set(100_001);
    assert!(bits.get(100_001) && !bits.get(100_002));
}
