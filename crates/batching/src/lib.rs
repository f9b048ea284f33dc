//! Decides who goes first and who leaves together.
//!
//! Everything here is arithmetic: no I/O, no clock, no lock. What runs a GPU, a real one or a simulated one, asks for
//! the plan of a step, executes it, and tells what came of it.
//!
//! ```text
//!   add ──▶ waiting ── admission ──▶ running ──▶ plan: decodes, chunks ──▶ executor
//!              ▲                        │ ▲                                   │
//!              └──── preemption ────────┘ └──────────── done ◀────────────────┘
//!                                       │
//!                                      kv: pages taken, shared, given back
//! ```
//!
//! Start reading at [`step::Scheduler`]. The memory that it gives out is [`kv::Kv`]. Before all that, at a gateway, those
//! wait for whom no backend has room: [`queue::Queue`] says who goes first. What no engine batches by itself,
//! [`micro::Micro`] does before it is sent: several requests become one call, within a [`budget::Budget`].

pub mod budget;
pub mod kv;
pub mod micro;
pub mod queue;
pub mod step;
