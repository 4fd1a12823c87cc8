//! The calls about links.

use septum_core::access::Permission as P;

use super::super::entry::{Entry, Subject as S, run};
use super::super::links;
use super::LIST;

pub(super) fn all() -> Vec<Entry> {
    vec![
        Entry::new("link/add", run!(links::add))
            .needs("action")
            .takes(
                "study_id study_uid storage_namespace phi_namespace namespace_id password password_max_attempts max_hits \
                 minutes_alive download description message email mobile_phone notify skip_email_prompt prompt_for_anonymize \
                 anonymize upload_match upload_study_customfields pin_auth password_is_dob acceptance_required \
                 include_priors share_on_view use_share_code meeting_id charge_amount charge_currency filter",
            )
            .fails("NOT_SUPPORTED INVALID_ACTION INVALID_INTEGER INVALID_FLAG BAD_PASSWORD"),
        Entry::new("link/list", run!(links::list))
            .on(S::Study, &[P::LinkView])
            .needs("study_id")
            .takes(LIST),
        Entry::new("link/get", run!(links::get)).needs("uuid"),
        Entry::new("link/delete", run!(links::delete)).needs("uuid"),
        Entry::new("link/pin", run!(links::pin)).needs("uuid").fails("TRY_LATER"),
        Entry::new("link/status", run!(links::status))
            .public()
            .needs("(uuid|pin)")
            .fails("INVALID_PIN PIN_LOCKOUT ONLY_ONE"),
        Entry::new("link/session", run!(links::session))
            .public()
            .needs("(uuid|pin)")
            .takes("password email_address")
            .fails("INVALID_CREDENTIALS INVALID_PIN PIN_LOCKOUT ONLY_ONE"),
    ]
}
