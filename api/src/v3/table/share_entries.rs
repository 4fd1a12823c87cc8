//! The calls about who else sees a study.

use septum_core::access::Permission as P;

use super::super::entry::{Entry, Subject as S, run};
use super::super::shares::{self, rules};

pub(super) fn all() -> Vec<Entry> {
    const RULE: &str = "account_id by_type by_id with_type with_id";
    let (study, account) = (S::Study, S::Account("account_id"));
    vec![
        Entry::new("study/share", run!(shares::share))
            .on(study, &[P::StudyShare])
            .needs("(uuid|study_uid&storage_namespace&phi_namespace) (account_id|location_id|group_id|user_id|share_code|email|rsna|npi|masshiway)")
            .takes("message integration_key")
            .fails("INVALID_PARAMETERS INVALID_EMAIL PHANTOM SHARE_FAILED NOT_SUPPORTED NOT_CONFIGURED TRY_LATER"),
        Entry::new("study/share/stop", run!(shares::stop))
            .on(study, &[P::StudyShare])
            .needs("uuid (account_id|location_id|group_id|user_id|user_invite_share_id)")
            .fails("INVALID_PARAMETERS"),
        Entry::new("study/share/list", run!(shares::list))
            .on(study, &[P::StudyShare])
            .needs("uuid")
            .takes("name"),
        Entry::new("study/share/who", run!(shares::who))
            .on(study, &[P::StudyShare])
            .needs("uuid type")
            .fails("INVALID_TYPE"),
        Entry::new("study/approve", run!(shares::approve))
            .on(study, &[P::StudyApprove])
            .needs("uuid")
            .takes("delay must_match")
            .fails("NOT_SUPPORTED"),
        Entry::new("study/reject", run!(shares::reject))
            .on(study, &[P::StudyApprove])
            .needs("uuid")
            .takes("message"),
        Entry::new("study/duplicate", run!(shares::duplicate))
            .on(study, &[P::StudyDuplicate])
            .needs("uuid namespace_id")
            .takes("include_attachments overwrite exclude_phi")
            .fails("ALREADY_EXISTS PHANTOM NOT_SUPPORTED INVALID_FLAG"),
        Entry::new("study/move", run!(shares::move_to))
            .on(study, &[P::StudyMove])
            .needs("uuid namespace_id")
            .fails("ALREADY_EXISTS PHANTOM"),
        Entry::new("account/can/share", run!(rules::add))
            .on(account, &[P::AccountEdit])
            .needs(RULE)
            .fails("BY_NOT_FOUND WITH_NOT_FOUND INVALID_TYPE TRY_LATER"),
        Entry::new("account/can/share/stop", run!(rules::stop))
            .on(account, &[P::AccountEdit])
            .needs(RULE)
            .fails("INVALID_TYPE"),
        Entry::new("account/can/share/list", run!(rules::list))
            .on(account, &[P::AccountView])
            .needs("account_id"),
    ]
}
