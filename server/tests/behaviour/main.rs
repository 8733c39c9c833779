//! The server as clients and administrators meet it: a process of its own for each test.

mod agents;
mod api;
mod encryption;
mod http;
mod limits;
mod meetings;
mod process;
mod signal;
mod support;
mod tls;
