//! Five bytes once made an Avro reader ask for 534 MiB. An allocator that remembers the largest request of each thread
//! tells whether lengths are believed here.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use super::*;

struct Remembering;

thread_local! {
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

fn remember(size: usize) {
    // While a thread ends its cell may be gone already.
    let _ = LARGEST.try_with(|largest| largest.set(largest.get().max(size)));
}

// SAFETY: every call goes to the system allocator unchanged; remembering a number allocates nothing.
unsafe impl GlobalAlloc for Remembering {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        remember(layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        remember(layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        remember(size);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Remembering = Remembering;

#[test]
fn claimed_lengths_are_not_believed() {
    // 534 MiB, 2^63 - 1 and -1, as five to ten bytes of varint, where a text, an optional text and a list of them begin.
    let claims: [&[u8]; 3] =
        [&[0x80, 0x80, 0x80, 0xD6, 0x04], &[0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01], &[0x01]];
    for claim in claims {
        let tick = [&encoded(1)[..10 + 17], claim].concat();
        let gap_header = RecordType::Gap.fingerprint().to_le_bytes();
        let text = [&SINGLE_OBJECT[..], &gap_header, &[7; 16], claim].concat();
        let list = [&SINGLE_OBJECT[..], &gap_header, &[7; 16], b"\x02x", claim, &[0, 0]].concat();
        let cases = [(RecordType::PriceTick, tick), (RecordType::Gap, text), (RecordType::Gap, list)];
        for (record, value) in cases {
            let mut decoder = decoder(record);
            LARGEST.set(0);
            let decoded = run(&mut decoder, &[Some(value)]);
            assert_eq!(decoded.rows, [0_u32; 0]);
            assert!(LARGEST.get() < 1 << 20, "{} bytes asked for", LARGEST.get());
        }
    }
}
