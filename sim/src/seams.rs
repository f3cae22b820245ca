// SPDX-License-Identifier: Apache-2.0
//! What the standard library asks the system for and a simulation must decide: the keys of hash maps and the number of the process.
//!
//! A program that defines a function of the C library is asked instead of it. Both are called by safe code that trusts their
//! contract, which is kept here: `getrandom` fills exactly the bytes it is given.
#![expect(unsafe_code, reason = "functions of the C library, by their C contract")]

/// The same bytes for everybody: hash maps iterate in the same order in each run.
#[unsafe(no_mangle)]
extern "C" fn getrandom(buf: *mut u8, len: usize, _flags: u32) -> isize {
    // SAFETY: the caller gives `len` writable bytes at `buf`.
    unsafe { buf.write_bytes(0x5a, len) };
    len.cast_signed()
}

/// The number of the process stands in files and in ids.
#[unsafe(no_mangle)]
extern "C" fn getpid() -> i32 {
    4711
}
