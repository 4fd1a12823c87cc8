//! Every entrypoint that answers. What is not here is not supported, and says so.

use std::sync::LazyLock;

use septum_core::access::Permission as P;
use septum_engine::accounts::documents::Kind;

use super::entry::{Entry, Subject as S, run};
use super::{
    account, activities, documents, exceptions, members, messages, namespaces, orders, patients, reports, roles,
    session, storage, studies, study_list, tags, terminology, units, users,
};

mod link_entries;
mod mail_entries;
mod share_entries;

static TABLE: LazyLock<Vec<Entry>> = LazyLock::new(table);

/// Every entrypoint, by path.
pub fn all() -> &'static [Entry] {
    &TABLE
}

const LIST: &str = "filter.* filter_id page.rows page.number sort_by";
const STUDY_LIST: &str = "filter.* filter_id page.rows page.number sort_by extra fields customfield_h permissions_diff";
const ACTIVITIES: &str =
    "account_id strict_account_filter study_extra filter.* filter_id page.rows page.number sort_by";
const UNIT: &str = "must_approve must_approve_upload must_approve_harvest must_approve_move no_share share_code \
                    share_description share_settings share_via_gateway hl7_template search_threshold role_id \
                    customfield-* site_id";
const ACCOUNT: &str = "vanity password_expire session_expire must_approve must_approve_upload must_approve_harvest \
                       must_approve_move no_share can_request share_code share_description share_settings \
                       share_via_gateway hl7_template search_threshold settings setting_* css vendor role_id \
                       customfield-* site_management_account_id";
const MEMBER: &str = "role_id account_email account_alias account_login password_reset global global_role_id epic_user \
                      session_expire max_sessions set_default_organization sso_only settings setting_* customfield-* \
                      event_*";
const STUDY: &str = "(study_id|uuid|study_uid)";
const STUDY_NOTES: &str = "storage_namespace phi_namespace patient_* patientid* medical_record_locator study_* \
                           accession_number modality referring_physician thin image_count attachment_count \
                           integration_key destination_ae_title source_ae_title node_id customfield-*";
const STUDY_CORRECTED: &str = "reason use_upload_permission storage_namespace phi_namespace patient_* patientid* medical_record_locator study_* \
                               accession_number modality referring_physician thin image_count attachment_count \
                               integration_key destination_ae_title source_ae_title node_id customfield-*";
const NAMESPACE_SETTINGS: &str = "no_dup_share study_field_flags study_size_soft_threshold_per_user share_related ira_namespace download_anonymize \
     storage_always_dicom_tags remove_private_tags_on_upload enable_dicom_wrapping auto_enable_dicom_wrapping \
     single_file_dicom_wrapping disable_duplicate_study_upload force_new_study_on_upload enable_multipart_uploader \
     allow_drag_and_drop_in_study_uploader link_defaults upload_settings auto_create_patient \
     enable_epic_patient_lookup ui_json cloud_storage_config pixel_anonymize_color priority_notifications \
     enable_namespace_ai_questions disable_mobile_dicom_wrapping enable_dicom_deidentification \
     try_update_original_study must_approve_duplicate_study_uid reverse_patient_name epic_prompt_for_anonymize";
const UNIT_ERRORS: &str = "ACCOUNT_NOT_FOUND DUP_NAMESPACE_NAME DUP_SHARE_CODE INVALID_FLAG INVALID_INTEGER \
                           INVALID_CUSTOMFIELD INVALID_JSON ROLE_NAMESPACE_MISMATCH";

/// Groups and locations have the same calls.
macro_rules! units {
    ($object:literal, $subject:expr, $view:expr, $edit:expr) => {
        vec![
            Entry::new(concat!($object, "/list"), run!(units::list))
                .on(S::Account("account_id"), &[$view])
                .needs("account_id")
                .takes(LIST),
            Entry::new(concat!($object, "/add"), run!(units::add))
                .on(S::Account("account_id"), &[$edit])
                .needs("name account_id")
                .takes(UNIT)
                .fails(UNIT_ERRORS),
            Entry::new(concat!($object, "/get"), run!(units::get))
                .on($subject, &[$view])
                .needs("uuid"),
            Entry::new(concat!($object, "/set"), run!(units::set))
                .on($subject, &[$edit])
                .needs("uuid")
                .takes(UNIT)
                .fails(UNIT_ERRORS),
            Entry::new(concat!($object, "/delete"), run!(units::delete))
                .on($subject, &[$edit])
                .needs("uuid")
                .fails("NOT_EMPTY"),
            Entry::new(concat!($object, "/user/add"), run!(members::unit_add))
                .on($subject, &[$edit])
                .needs("uuid user_id")
                .takes("role_id no_physician_alias_share event_*")
                .fails("USER_NOT_FOUND ROLE_NAMESPACE_MISMATCH INVALID_FLAG CAN_NOT_PROMOTE"),
            Entry::new(concat!($object, "/user/list"), run!(members::list))
                .on($subject, &[$view])
                .needs("uuid")
                .takes(LIST),
            Entry::new(concat!($object, "/user/delete"), run!(members::delete))
                .on($subject, &[$edit])
                .needs("uuid user_id")
                .fails("USER_NOT_FOUND"),
        ]
    };
}

fn table() -> Vec<Entry> {
    let mut rows = sessions_and_users();
    rows.extend(accounts());
    rows.extend(units!("group", S::Group, P::GroupView, P::GroupEdit));
    rows.extend(units!("location", S::Location, P::LocationView, P::LocationEdit));
    rows.extend(roles_and_namespaces());
    rows.extend(studies_and_marks());
    rows.extend(share_entries::all());
    rows.extend(mail_entries::all());
    rows.extend(link_entries::all());
    rows.extend(decisions());
    rows.extend(words());
    rows.extend(objects_of_accounts());
    rows.sort_by_key(|entry| entry.path);
    rows
}

fn sessions_and_users() -> Vec<Entry> {
    vec![
        Entry::new("job/get", run!(storage::job)).guests_too().needs("id"),
        Entry::new("session/login", run!(session::login))
            .public()
            .post_only()
            .needs("password (login|email)")
            .takes("vanity new_password validate_session location")
            .fails("INVALID_CREDENTIALS LOCKOUT BAD_PASSWORD PASSWORD_RESET VALIDATION_FAILED DISABLED"),
        Entry::new("session/user", run!(session::user))
            .guests_too()
            .takes("settings"),
        Entry::new("session/permissions", run!(session::permissions))
            .guests_too()
            .needs("(account_id|namespace_id)"),
        Entry::new("session/logout", run!(session::logout)).guests_too(),
        Entry::new("session/ttl", run!(session::ttl))
            .guests_too()
            .fails("EXPIRED"),
        Entry::new("session/uuid", run!(session::fresh_uuid)).public(),
        Entry::new("session/oauth/token", run!(session::token))
            .public()
            .post_only()
            .needs("grant_type client_id client_secret")
            .takes("duration")
            .fails("LOCKOUT AUTH_FAILED"),
        Entry::new("user/get", run!(users::get))
            .guests_too()
            .takes("uuid account_id"),
        Entry::new("user/set", run!(users::set))
            .takes(
                "uuid first last email mobile_phone password old_password share_code share_description time_zone \
                 pin_required allowed_login_brands public_key ui_json npi terms_md5 privacy_md5 indicator_md5 event_*",
            )
            .fails("DUPLICATE_EMAIL BAD_PASSWORD INVALID_PASSWORD INVALID_TIME_ZONE INVALID_EMAIL DUP_SHARE_CODE"),
        Entry::new("user/add", run!(users::add))
            .on(S::Account("account_id"), &[P::UserEdit])
            .post_only()
            .needs("account_id first last password email")
            .takes("mobile_phone event_*")
            .fails("DUPLICATE_EMAIL BAD_PASSWORD INVALID_EMAIL"),
        Entry::new("user/delete", run!(users::delete))
            .post_only()
            .fails("IN_USE"),
        Entry::new("user/enable", run!(users::enable))
            .needs("uuid")
            .takes("disable")
            .fails("NOT_DISABLED INVALID_FLAG"),
        Entry::new("user/namespace/list", run!(users::namespace_list))
            .guests_too()
            .takes("account_id plus_phr name_and_id_only filter.*"),
        Entry::new("setting/set", run!(namespaces::setting_set))
            .needs("key value")
            .takes("user_id"),
        Entry::new("setting/get", run!(namespaces::setting_get))
            .guests_too()
            .needs("key")
            .takes("user_id"),
        Entry::new("setting/get/all", run!(namespaces::setting_get_all)).guests_too(),
    ]
}

fn accounts() -> Vec<Entry> {
    let uuid = || S::Account("uuid");
    vec![
        Entry::new("account/list", run!(account::list)).takes(LIST),
        Entry::new("account/get", run!(account::get))
            .about(uuid())
            .needs("uuid")
            .takes("permissions"),
        Entry::new("account/add", run!(account::add))
            .installation(P::InstallationAccounts)
            .needs("name")
            .takes(ACCOUNT)
            .fails("DUPLICATE_NAME INVALID_FLAG INVALID_INTEGER INVALID_JSON"),
        Entry::new("account/set", run!(account::set))
            .on(uuid(), &[P::AccountEdit])
            .needs("uuid")
            .takes(ACCOUNT)
            .fails("DUPLICATE_NAME DUPLICATE_VANITY DUP_SHARE_CODE INVALID_FLAG INVALID_INTEGER INVALID_JSON INVALID_CUSTOMFIELD ROLE_NAMESPACE_MISMATCH"),
        Entry::new("account/delete", run!(account::delete))
            .about(uuid())
            .needs("uuid")
            .fails("NOT_EMPTY"),
        Entry::new("account/settings", run!(account::settings))
            .about(S::Account("account_id"))
            .needs("account_id")
            .takes("settings"),
        Entry::new("account/user/add", run!(members::account_add))
            .on(uuid(), &[P::AccountUserEdit])
            .needs("uuid (email|user_id)")
            .takes(MEMBER)
            .fails("USER_NOT_FOUND ALREADY_EXISTS CAN_NOT_PROMOTE INVALID_FLAG INVALID_CUSTOMFIELD ROLE_NAMESPACE_MISMATCH"),
        Entry::new("account/user/get", run!(members::account_get))
            .on(uuid(), &[P::AccountUserView])
            .needs("uuid user_id")
            .fails("USER_NOT_FOUND"),
        Entry::new("account/user/set", run!(members::account_set))
            .on(uuid(), &[P::AccountUserEdit])
            .needs("uuid user_id")
            .takes(MEMBER)
            .fails("USER_NOT_FOUND CAN_NOT_PROMOTE INVALID_FLAG INVALID_CUSTOMFIELD ROLE_NAMESPACE_MISMATCH"),
        Entry::new("account/user/list", run!(members::list))
            .on(uuid(), &[P::AccountUserView, P::CaseEdit])
            .needs("uuid")
            .takes(LIST),
        Entry::new("account/user/delete", run!(members::delete))
            .on(uuid(), &[P::AccountUserEdit])
            .needs("uuid user_id")
            .fails("USER_NOT_FOUND"),
    ]
}

fn roles_and_namespaces() -> Vec<Entry> {
    const USES: &str = "description for_account for_group for_location permissions permission_* settings setting_*";
    let account = S::Account("account_id");
    vec![
        Entry::new("role/list", run!(roles::list))
            .on(account, &[P::RoleView])
            .needs("account_id")
            .takes(LIST),
        Entry::new("role/add", run!(roles::add))
            .on(account, &[P::RoleEdit])
            .needs("name account_id")
            .takes(USES)
            .fails("ACCOUNT_NOT_FOUND DUPLICATE_NAME INVALID_JSON INVALID_PERMISSION INVALID_PERMISSION_VALUE NO_OTHER_ROLE_EDIT"),
        Entry::new("role/get", run!(roles::get)).on(S::Role, &[P::RoleView]).needs("uuid"),
        Entry::new("role/set", run!(roles::set))
            .on(S::Role, &[P::RoleEdit])
            .needs("uuid")
            .takes(USES)
            .fails("DUPLICATE_NAME INVALID_JSON INVALID_PERMISSION INVALID_PERMISSION_VALUE NO_OTHER_ROLE_EDIT"),
        Entry::new("role/settings", run!(roles::settings))
            .on(S::Role, &[P::RoleSettingEdit])
            .needs("uuid")
            .takes("settings setting_*"),
        Entry::new("role/delete", run!(roles::delete))
            .on(S::Role, &[P::RoleEdit])
            .needs("uuid")
            .fails("IN_USE"),
        Entry::new("role/default/permissions", run!(roles::default_permissions)).takes("account_id"),
        Entry::new("namespace/permissions", run!(namespaces::permissions)).guests_too()
            .needs("(namespace_id|study_id|study_uid&storage_namespace&phi_namespace)"),
        Entry::new("namespace/engine/fqdn", run!(namespaces::engine))
            .public()
            .needs("(namespace_id|study_id|study_uid&storage_namespace&phi_namespace)")
            .takes("source"),
        Entry::new("namespace/settings", run!(namespaces::settings))
            .needs("uuid")
            .takes(NAMESPACE_SETTINGS)
            .fails("INVALID_SETTING_VALUE"),
        Entry::new("namespace/share_code", run!(namespaces::share_code)).needs("(share_code|namespace_id)"),
    ]
}

fn studies_and_marks() -> Vec<Entry> {
    let study = S::Study;
    let marks = |kind| S::StudyDocument(kind);
    vec![
        Entry::new("study/add", run!(studies::add))
            .on(study, &[P::StudyUpload, P::StudyThin])
            .needs("study_uid")
            .takes(STUDY_NOTES)
            .fails("ALREADY_EXISTS NAMESPACE_NOT_FOUND INVALID_INTEGER INVALID_FLAG INVALID_CUSTOMFIELD INVALID_UUID"),
        Entry::new("study/set", run!(studies::set))
            .on(study, &[P::StudyEdit, P::StudyThin, P::StudyUpload])
            .needs(STUDY)
            .takes(STUDY_CORRECTED)
            .fails("INVALID_CUSTOMFIELD INVALID_INTEGER INVALID_VALUE LOCKED NOT_AVAILABLE"),
        Entry::new("study/get", run!(studies::get))
            .on(study, &[P::StudyView, P::StudyBrowse])
            .needs("(uuid|study_uid)")
            .takes("storage_namespace phi_namespace extra fields customfield_h permissions_diff full_hl7"),
        Entry::new("study/list", run!(study_list::list)).guests_too().takes(STUDY_LIST).fails("NOT_LIST INVALID_FLAG"),
        Entry::new("study/count", run!(study_list::count)).guests_too().takes("filter.* filter_id"),
        Entry::new("study/exists", run!(studies::exists)).guests_too()
            .needs("(uuid|study_uid)")
            .takes("storage_namespace phi_namespace account_id"),
        Entry::new("study/permissions", run!(studies::permissions)).guests_too().about(study).needs("uuid"),
        Entry::new("study/delete", run!(studies::delete))
            .on(study, &[P::StudyDelete])
            .needs("(uuid|study_uid&storage_namespace&phi_namespace)"),
        Entry::new("study/sync", run!(studies::sync))
            .on(study, &[P::StudySync, P::StudyUpload])
            .needs("(study_id|uuid|study_uid&storage_namespace&phi_namespace)")
            .takes("image_count reload_load_dicom_tag"),
        Entry::new("study/freeze", run!(studies::freeze))
            .on(study, &[P::StudyFreeze])
            .needs("uuid")
            .takes("thaw")
            .fails("ALREADY"),
        Entry::new("study/report/detail", run!(reports::detail))
            .on(S::Account("account_id"), &[P::StudyReportDetail])
            .needs("account_id")
            .takes("filter.* filter_id sort_by limit")
            .fails("REPORT_ERROR INVALID_INTEGER"),
        Entry::new("report/status", run!(reports::status)).needs("report_id"),
        Entry::new("study/retrieve", run!(studies::retrieve))
            .on(study, &[P::StudyThin])
            .needs("uuid")
            .fails("NOT_THIN MISSING_INFO NO_QUERY_DESTINATION"),
        Entry::new("study/clone", run!(storage::clone))
            .on(study, &[P::StudyClone])
            .needs("uuid")
            .takes("new_series_uids new_image_uids")
            .fails("INVALID_FLAG NOT_AVAILABLE FAILED"),
        Entry::new("study/split", run!(storage::split))
            .on(study, &[P::StudySplit])
            .needs("uuid namespace_id")
            .takes("no_split")
            .fails("INVALID_FLAG NOT_AVAILABLE FAILED"),
        Entry::new("study/star", run!(studies::star))
            .on(study, &[P::StudyStar])
            .needs("uuid star")
            .fails("INVALID_FLAG"),
        Entry::new("study/status/get", run!(studies::status_get))
            .on(study, &[P::StudyStatusView])
            .needs("study_id"),
        Entry::new("study/status/set", run!(studies::status_set))
            .on(study, &[P::StudyStatusEdit, P::StudyStatusManualEdit])
            .needs("study_id new")
            .takes("old")
            .fails("STALE INVALID_TAG"),
        Entry::new("study/audit", run!(studies::audit)).guests_too()
            .about(study)
            .needs("action detail (uuid|study_uid)")
            .takes("storage_namespace phi_namespace")
            .fails("INVALID_ACTION"),
        Entry::new("study/comment/add", run!(documents::add))
            .on(study, &[P::StudyCommentEdit])
            .needs("study_id body"),
        Entry::new("study/comment/get", run!(documents::get))
            .on(marks(Kind::Comment), &[P::StudyCommentView])
            .needs("uuid"),
        Entry::new("study/comment/delete", run!(documents::delete))
            .on(marks(Kind::Comment), &[P::StudyCommentEdit])
            .needs("uuid"),
        Entry::new("annotation/list", run!(documents::list))
            .on(study, &[P::AnnotationView])
            .needs("(study_id|study_uid&storage_namespace&phi_namespace)"),
        Entry::new("annotation/add", run!(documents::add))
            .on(study, &[P::AnnotationEdit])
            .needs("(study_id|study_uid&storage_namespace&phi_namespace) series_uid instance_uid frame_number (json|stamp)")
            .fails("INVALID_JSON INVALID_FLAG INVALID_INTEGER"),
        Entry::new("annotation/get", run!(documents::get))
            .on(marks(Kind::Annotation), &[P::AnnotationView])
            .needs("uuid"),
        Entry::new("annotation/set", run!(documents::set))
            .on(marks(Kind::Annotation), &[P::AnnotationEdit])
            .needs("uuid json")
            .fails("INVALID_JSON"),
        Entry::new("annotation/delete", run!(documents::delete))
            .on(marks(Kind::Annotation), &[P::AnnotationEdit])
            .needs("uuid"),
        Entry::new("keyimage/list", run!(documents::list))
            .on(study, &[P::KeyimageView])
            .needs("(study_id|study_uid&storage_namespace&phi_namespace)"),
        Entry::new("keyimage/add", run!(documents::add))
            .on(study, &[P::KeyimageEdit])
            .needs("(study_id|study_uid&storage_namespace&phi_namespace) series_uid instance_uid frame_number version")
            .fails("INVALID_INTEGER"),
        Entry::new("keyimage/get", run!(documents::get))
            .on(marks(Kind::KeyImage), &[P::KeyimageView])
            .needs("uuid"),
        Entry::new("keyimage/delete", run!(documents::delete))
            .on(marks(Kind::KeyImage), &[P::KeyimageEdit])
            .needs("uuid"),
    ]
}

/// Words tied to things, sent to people, and said by pages.
fn words() -> Vec<Entry> {
    const TO: &str = "body (namespace_id|user_id|group_id|location_id|account_id|email|share_code|study_id)";
    vec![
        Entry::new("tag/list", run!(tags::list))
            .needs("object")
            .takes(LIST)
            .fails("INVALID_OBJECT"),
        Entry::new("tag/add", run!(tags::add))
            .needs("tag object object_id")
            .fails("INVALID_OBJECT INVALID_VALUE"),
        Entry::new("tag/delete", run!(tags::delete))
            .needs("tag object object_id")
            .fails("INVALID_OBJECT INVALID_VALUE"),
        Entry::new("message/list", run!(messages::list)).takes(LIST),
        Entry::new("message/add", run!(messages::add))
            .needs(TO)
            .takes("subject parent_id")
            .fails("NOT_SUPPORTED"),
        Entry::new("message/get", run!(messages::get)).needs("uuid"),
        Entry::new("message/delete", run!(messages::delete)).needs("uuid"),
        Entry::new("message/count", run!(messages::count))
            .takes("reset")
            .fails("INVALID_FLAG"),
        Entry::new("terminology/list", run!(terminology::list))
            .public()
            .needs("language")
            .takes("tags account_id vanity"),
        Entry::new("terminology/tags", run!(terminology::tags))
            .public()
            .needs("language")
            .takes("tags account_id vanity"),
        Entry::new("terminology/i18next", run!(terminology::i18next))
            .public()
            .needs("lng")
            .takes("account_id vanity"),
        Entry::new("terminology/account/overrides", run!(terminology::overrides)).needs("(account_id|vanity)"),
        Entry::new("terminology/set", run!(terminology::set))
            .needs("tag language")
            .takes("account_id vanity value")
            .fails("NO_VALUE NOT_SYSADMIN_OR_SUPPORT INVALID_VALUE"),
    ]
}

/// What waits for somebody to decide.
fn decisions() -> Vec<Entry> {
    vec![
        Entry::new("activity/list", run!(activities::list)).takes(ACTIVITIES),
        Entry::new("activity/list/count", run!(activities::count)).takes("account_id filter.* filter_id"),
        Entry::new("activity/get", run!(activities::get))
            .needs("uuid")
            .takes("study_extra"),
        Entry::new("exception/list", run!(exceptions::list))
            .needs("namespace_id")
            .takes(LIST),
        Entry::new("exception/accept", run!(exceptions::accept)).needs("uuid namespace_id"),
        Entry::new("exception/move", run!(exceptions::move_to))
            .needs("uuid namespace_id to_namespace")
            .fails("ALREADY_EXISTS"),
        Entry::new("exception/reject", run!(exceptions::reject)).needs("uuid namespace_id"),
    ]
}

fn objects_of_accounts() -> Vec<Entry> {
    let account = S::Account("account_id");
    let field = S::Document(Kind::CustomField);
    let (patient, order) = (S::Document(Kind::Patient), S::Document(Kind::Order));
    let profile = S::Document(Kind::Anonymization);
    vec![
        Entry::new("customfield/list", run!(documents::list))
            .on(account, &[P::CustomfieldView, P::RoleView])
            .needs("account_id")
            .takes(LIST),
        Entry::new("customfield/add", run!(documents::add))
            .on(account, &[P::CustomfieldEdit])
            .needs("account_id name object")
            .takes("type display_order required options dicom_tag load_dicom_tag field_flag ui_json load_order")
            .fails("ACCOUNT_NOT_FOUND INVALID_OBJECT INVALID_TYPE INVALID_OPTIONS INVALID_FLAG INVALID_INTEGER INVALID_JSON INVALID_DICOM_TAG INVALID_DICOM_TAG_OBJECT NO_DICOM_TAG_DEFINED"),
        Entry::new("customfield/get", run!(documents::get))
            .on(field, &[P::CustomfieldView, P::RoleView])
            .needs("uuid"),
        Entry::new("customfield/set", run!(documents::set))
            .on(field, &[P::CustomfieldEdit])
            .needs("uuid")
            .takes("name type display_order required options dicom_tag load_dicom_tag field_flag ui_json load_order")
            .fails("INVALID_OBJECT INVALID_TYPE INVALID_OPTIONS INVALID_FLAG INVALID_INTEGER INVALID_JSON INVALID_DICOM_TAG INVALID_DICOM_TAG_OBJECT NO_DICOM_TAG_DEFINED"),
        Entry::new("customfield/delete", run!(documents::delete))
            .on(field, &[P::CustomfieldEdit])
            .needs("uuid"),
        Entry::new("filter/list", run!(documents::list)).takes(LIST),
        Entry::new("filter/add", run!(documents::add))
            .needs("name type configuration")
            .takes("account_id tier_parent_id")
            .fails("INVALID_CONFIG INVALID_JSON"),
        Entry::new("filter/get", run!(documents::get)).needs("uuid"),
        Entry::new("filter/set", run!(documents::set))
            .needs("uuid")
            .takes("name type configuration account_id")
            .fails("INVALID_CONFIG INVALID_JSON"),
        Entry::new("filter/delete", run!(documents::delete)).needs("uuid"),
        Entry::new("patient/list", run!(documents::list))
            .on(account, &[P::PatientView])
            .needs("account_id")
            .takes(LIST),
        Entry::new("patient/add", run!(documents::add))
            .on(account, &[P::PatientEdit])
            .needs("account_id (name|first&last)")
            .takes("mrn sex birth_date email mobile_phone alt_email alt_mobile_phone event_* customfield-*")
            .fails("ALREADY_EXISTS INVALID_EMAIL INVALID_CUSTOMFIELD"),
        Entry::new("patient/get", run!(documents::get)).on(patient, &[P::PatientView]).needs("uuid"),
        Entry::new("patient/set", run!(documents::set))
            .on(patient, &[P::PatientEdit])
            .needs("uuid")
            .takes("name first last mrn sex birth_date email mobile_phone alt_email alt_mobile_phone event_* customfield-*")
            .fails("INVALID_EMAIL INVALID_CUSTOMFIELD"),
        Entry::new("patient/merge", run!(patients::merge))
            .on(patient, &[P::PatientMerge])
            .needs("uuid src")
            .takes(
                "do_delete do_update_patient_studies sex email mobile_phone alt_email alt_mobile_phone event_* customfield-*",
            )
            .fails("INVALID_JSON INVALID_FLAG INVALID_EMAIL INVALID_CUSTOMFIELD ALREADY_USED"),
        Entry::new("patient/merge/undo", run!(patients::unmerge))
            .on(patient, &[P::PatientMerge])
            .needs("uuid src")
            .fails("INVALID_JSON"),
        Entry::new("patient/study/list", run!(patients::studies))
            .on(patient, &[P::PatientView])
            .needs("uuid")
            .takes("viewable_only")
            .fails("INVALID_FLAG"),
        Entry::new("patient/delete", run!(documents::delete))
            .on(patient, &[P::PatientEdit])
            .needs("uuid"),
        Entry::new("order/list", run!(documents::list))
            .on(account, &[P::OrderView])
            .needs("account_id")
            .takes(LIST),
        Entry::new("order/add", run!(documents::add))
            .on(account, &[P::OrderEdit])
            .needs("account_id patientid patient_name accession_number patient_sex patient_birth_date referring_physician sending_facility")
            .takes("customfield-*")
            .fails("INVALID_CUSTOMFIELD"),
        Entry::new("order/get", run!(documents::get)).on(order, &[P::OrderView]).needs("uuid"),
        Entry::new("order/set", run!(documents::set))
            .on(order, &[P::OrderEdit])
            .needs("uuid")
            .takes("patientid patient_name accession_number patient_sex patient_birth_date referring_physician sending_facility customfield-*")
            .fails("INVALID_CUSTOMFIELD"),
        Entry::new("order/delete", run!(documents::delete))
            .on(order, &[P::OrderEdit])
            .needs("uuid"),
        Entry::new("order/sps/add", run!(orders::add)).needs("order_id modality").takes(
            "scheduled_procedure_step_id requested_procedure_id requested_procedure_description \
             scheduled_station_aetitle scheduled_procedure_step_start_date scheduled_procedure_step_start_time \
             scheduled_procedure_step_description",
        ),
        Entry::new("order/sps/set", run!(orders::set)).needs("uuid"),
        Entry::new("order/sps/delete", run!(orders::delete)).needs("uuid"),
        Entry::new("order/sps/find", run!(orders::find))
            .on(account, &[P::OrderView])
            .needs("account_id")
            .takes("filter.*"),
        Entry::new("anonymization/list", run!(documents::list))
            .on(account, &[P::AccountView])
            .needs("account_id")
            .takes(LIST),
        Entry::new("anonymization/add", run!(documents::add))
            .on(account, &[P::AccountEdit])
            .needs("account_id name rules")
            .fails("NOT_HASH"),
        Entry::new("anonymization/get", run!(documents::get))
            .on(profile, &[P::AccountView])
            .needs("uuid"),
        Entry::new("anonymization/set", run!(documents::set))
            .on(profile, &[P::AccountEdit])
            .needs("uuid")
            .takes("name rules")
            .fails("NOT_HASH"),
        Entry::new("anonymization/delete", run!(documents::delete))
            .on(profile, &[P::AccountEdit])
            .needs("uuid"),
    ]
}

#[cfg(test)]
mod tests;
