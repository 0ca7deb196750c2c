//! `mailctl sts`, asked as Postfix asks, about domains of every kind.

mod policy;
mod report;
mod world;
