//! `mailctl monitoring` behind `mailctl web`, as browsers, programs and strangers meet it.

mod bad_days;
mod browser;
mod figures;
mod login;
mod many;
mod site;
mod strangers;
