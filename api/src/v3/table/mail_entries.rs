//! The calls behind links that go out by mail.

use septum_core::access::Permission as P;

use super::super::entry::{Entry, Subject as S, run};
use super::super::{invitations, links, passwords};

pub(super) fn all() -> Vec<Entry> {
    vec![
        Entry::new("user/invite", run!(invitations::invite))
            .on(S::Account("account_id"), &[P::AccountUserInvite])
            .needs("account_id email link")
            .takes("role_id link_already groups locations")
            .fails("INVALID_EMAIL ALREADY_EXISTS INVALID_JSON NOT_HASH INVALID_LINK CAN_NOT_PROMOTE"),
        // Whoever is not known yet says who they are; whoever is, is signed in.
        Entry::new("user/invite/accept", run!(invitations::accept))
            .public()
            .post_only()
            .needs("uuid")
            .takes("first last password")
            .fails("ACCEPTED ALREADY_EXISTS BAD_PASSWORD LOCKOUT"),
        Entry::new("user/password/lost", run!(passwords::lost))
            .public()
            .post_only()
            .needs("email")
            .fails("LOCKOUT NOT_CONFIGURED"),
        Entry::new("user/password/reset", run!(passwords::reset))
            .public()
            .post_only()
            .needs("token password")
            .fails("INVALID_TOKEN BAD_PASSWORD LOCKOUT"),
        Entry::new("link/mail", run!(links::mail))
            .needs("uuid email")
            .fails("INVALID_EMAIL NOT_CONFIGURED"),
    ]
}
