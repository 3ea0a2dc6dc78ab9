//! The notifier against a real broker and a loopback server that stands for Telegram, Slack and other people's webhooks, and
//! fails in each way. Each test has topics and channels of its own.

mod broker;
mod delivery;
mod faults;
mod held;
mod process;
mod server;
