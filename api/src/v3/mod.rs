//! API V3: the service calls of the vendor's public interface, as its client sends them.
//!
//! ```text
//! dispatch ─► entry (declared in table) ─► resolve (about what) ─► authorize ─► handler ─► reply (fields.*)
//! ```
//!
//! | module | owns |
//! |---|---|
//! | [`table`], [`entry`] | every entrypoint: path, permission, parameters, error tokens; a page of them at `/api/docs/v3` |
//! | [`dispatch`], [`resolve`], [`bundle`] | the one way to a handler |
//! | [`parameters`], [`fault`], [`reply`], [`lists`], [`times`] | the conventions of all calls |
//! | [`values`], [`custom_fields`], [`specs`] | what objects consist of |
//! | [`session`], [`users`], [`account`], [`members`], [`units`], [`roles`], [`namespaces`] | who may what, where |
//! | [`invitations`], [`passwords`], [`one_time`], [`welcome_page`] | what links in mail open: joining, a lost password |
//! | [`study_id`], [`study_record`], [`study_list`], [`studies`], [`corrections`] | studies |
//! | [`shares`], [`links`], [`link_page`] | who else sees a study: sharing, approving, duplicating, moving; links |
//! | [`reports`] | studies as a table, to be fetched as a file |
//! | [`channels`] | what happens, told over web sockets |
//! | [`activities`], [`exceptions`], [`patients`] | what waits for somebody; studies held apart; merging patients |
//! | [`tags`], [`messages`], [`terminology`] | words tied to things, to people, and of pages |
//! | [`documents`], [`orders`] | everything that is nothing but fields |
//! | [`storage`] | images, attachments and what is made of them, `/api/v3/storage` |
//!
//! Invariants: a call that is not in the table answers 412 `NOT_SUPPORTED`; nothing in an answer tells whether something
//! exists that the caller may not see; a call sent twice makes nothing twice.

pub use studies::erase_study;

pub mod account;
pub mod activities;
pub mod ask;
pub mod bundle;
pub mod channels;
pub mod corrections;
pub mod custom_fields;
pub mod dispatch;
pub(crate) mod docs;
pub mod documents;
pub mod entry;
pub mod exceptions;
pub mod fault;
pub mod invitations;
pub mod link_page;
pub mod links;
pub mod lists;
pub mod members;
pub mod messages;
pub mod namespaces;
pub mod one_time;
pub mod orders;
mod pages;
pub mod parameters;
pub mod passwords;
pub mod patients;
pub(crate) mod pins;
pub mod reply;
pub mod reports;
pub mod resolve;
pub mod roles;
pub mod session;
pub mod shares;
pub mod specs;
pub mod storage;
pub mod studies;
pub mod study_extra;
pub mod study_id;
pub mod study_list;
pub mod study_record;
pub mod table;
pub mod tags;
pub mod terminology;
pub mod times;
pub mod units;
pub mod users;
pub mod values;
pub mod welcome_page;
