//! Every permission, under the name that roles and documents give it, and what the built-in roles have of it.
//!
//! The first 201 are the flags of API V3; `flags.txt` beside this file lists them once more, and a test compares the two.
//! The rest are ours: four of a namespace, which roles may hold like the others, and those of the installation as a
//! whole, which no role holds.

use super::role::BuiltIn;

macro_rules! permissions {
    ($($(#[$doc:meta])* $variant:ident $name:literal $defaults:literal;)+) => {
        /// What may be done. Those without a word here mean what their name says; documentation of the API has more.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        #[repr(u8)]
        pub enum Permission {
            $($(#[$doc])* #[doc = concat!("`", $name, "`")] #[serde(rename = $name)] $variant),+
        }

        impl Permission {
            /// Every permission, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name in roles, answers and documents.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// The permission of a name; `None` where there is none.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)+ _ => None }
            }

            /// One character for each built-in role: `1` where it is permitted.
            const fn defaults(self) -> &'static [u8; 4] {
                match self { $(Self::$variant => $defaults),+ }
            }
        }
    };
}

permissions! {
    WebhookRun "webhook_run" b"0000";
    WebhookView "webhook_view" b"0000";
    WebhookEdit "webhook_edit" b"0000";
    SiteEdit "site_edit" b"0000";
    SiteAdd "site_add" b"0000";
    SiteView "site_view" b"0000";
    SiteDelete "site_delete" b"0000";
    SiteQualify "site_qualify" b"0000";
    SiteUserAdd "site_user_add" b"0000";
    SiteUserEdit "site_user_edit" b"0000";
    SiteUserView "site_user_view" b"0000";
    SiteUserDelete "site_user_delete" b"0000";
    AccountEdit "account_edit" b"1000";
    AccountView "account_view" b"1000";
    AccountUserView "account_user_view" b"1000";
    AccountUserEdit "account_user_edit" b"1000";
    AccountUserInvite "account_user_invite" b"1000";
    UserEdit "user_edit" b"0000";
    UserModifySharecode "user_modify_sharecode" b"1110";
    UserModifyDefaults "user_modify_defaults" b"1110";
    UserModifyNotifications "user_modify_notifications" b"1110";
    UserViewOthersNotifications "user_view_others_notifications" b"1110";
    UserModifyOthersNotifications "user_modify_others_notifications" b"0000";
    UserModifyOthersEmail "user_modify_others_email" b"0000";
    UserModifyOthersPkey "user_modify_others_pkey" b"0000";
    UserRequestAccess "user_request_access" b"1110";
    UserEditSharedFilter "user_edit_shared_filter" b"0000";
    DestinationView "destination_view" b"1000";
    DestinationEdit "destination_edit" b"1000";
    DestinationSearch "destination_search" b"0000";
    DestinationSearchMwl "destination_search_mwl" b"0000";
    GroupView "group_view" b"1000";
    GroupEdit "group_edit" b"1000";
    GroupClone "group_clone" b"1000";
    LocationView "location_view" b"1000";
    LocationEdit "location_edit" b"1000";
    LocationClone "location_clone" b"1000";
    RoleView "role_view" b"1000";
    RoleEdit "role_edit" b"1000";
    RoleSettingEdit "role_setting_edit" b"1000";
    RouteView "route_view" b"1000";
    RouteEdit "route_edit" b"1000";
    NodeView "node_view" b"1000";
    NodeEdit "node_edit" b"1000";
    NodeEditOwn "node_edit_own" b"0000";
    NodeConnect "node_connect" b"1000";
    NodeApproveConnect "node_approve_connect" b"1000";
    StudyApprove "study_approve" b"1010";
    StudyView "study_view" b"1111";
    StudyEdit "study_edit" b"1010";
    StudyEditApproved "study_edit_approved" b"1110";
    StudyEditUnapproved "study_edit_unapproved" b"1110";
    StudyStar "study_star" b"1100";
    StudyTag "study_tag" b"1100";
    StudyUpload "study_upload" b"1000";
    StudyUploadValidate "study_upload_validate" b"0000";
    StudyReportDetail "study_report_detail" b"1010";
    StudyDownload "study_download" b"1010";
    StudyDownloadViewer "study_download_viewer" b"1010";
    StudyDownloadIso "study_download_iso" b"1010";
    StudyBrowse "study_browse" b"1111";
    StudyPush "study_push" b"1000";
    StudyShare "study_share" b"1010";
    StudyShareEmail "study_share_email" b"0010";
    StudyShareShareCode "study_share_share_code" b"1110";
    StudyShareAccount "study_share_account" b"1110";
    StudyShareLocation "study_share_location" b"1110";
    StudyShareGroup "study_share_group" b"1110";
    StudyShareUser "study_share_user" b"1110";
    StudyShareRsna "study_share_rsna" b"0000";
    StudyShareNpi "study_share_npi" b"0000";
    StudyShareRequest "study_share_request" b"0000";
    StudyDelete "study_delete" b"0010";
    StudyDeleteImage "study_delete_image" b"0000";
    StudyThin "study_thin" b"0000";
    StudyReportView "study_report_view" b"1111";
    StudyReportViewApproved "study_report_view_approved" b"1111";
    StudyReportViewUnapproved "study_report_view_unapproved" b"0000";
    StudyReportViewOnlyOwn "study_report_view_only_own" b"0000";
    StudyTimingView "study_timing_view" b"0000";
    StudyReportHl7View "study_report_hl7_view" b"1111";
    StudyReportHl7ViewApproved "study_report_hl7_view_approved" b"1111";
    StudyReportHl7ViewUnapproved "study_report_hl7_view_unapproved" b"0000";
    StudyReportUpload "study_report_upload" b"1010";
    StudyReportUploadApproved "study_report_upload_approved" b"1110";
    StudyReportUploadUnapproved "study_report_upload_unapproved" b"0000";
    StudyReportDelete "study_report_delete" b"1010";
    StudyReportDeleteApproved "study_report_delete_approved" b"1110";
    StudyReportDeleteUnapproved "study_report_delete_unapproved" b"0000";
    StudySendStatusView "study_send_status_view" b"1111";
    StudySync "study_sync" b"0000";
    StudyStatusView "study_status_view" b"0000";
    StudyStatusEdit "study_status_edit" b"0000";
    StudyStatusManualEdit "study_status_manual_edit" b"1111";
    StudyStatusTagsIgnoreRules "study_status_tags_ignore_rules" b"1000";
    StudyCommentView "study_comment_view" b"0000";
    StudyCommentEdit "study_comment_edit" b"0000";
    StudyAudioRecord "study_audio_record" b"0000";
    StudyAudioPlay "study_audio_play" b"0000";
    StudyMove "study_move" b"0000";
    StudyFreeze "study_freeze" b"0000";
    StudyDuplicate "study_duplicate" b"0000";
    StudyClone "study_clone" b"0000";
    StudyDuplicateRequest "study_duplicate_request" b"0000";
    StudyManualRoute "study_manual_route" b"0000";
    StudySplit "study_split" b"0000";
    StudyMerge "study_merge" b"0000";
    StudyTake "study_take" b"0000";
    StudyRequestEdit "study_request_edit" b"0000";
    StudyRequestView "study_request_view" b"0000";
    StudyRequestViewOnlyOwn "study_request_view_only_own" b"0000";
    StudyRequestViewInbound "study_request_view_inbound" b"0000";
    StudySearchRequirePatientName "study_search_require_patient_name" b"0000";
    StudySearchRequirePatientSex "study_search_require_patient_sex" b"0000";
    StudySearchRequireAccessionNumber "study_search_require_accession_number" b"0000";
    StudySearchRequirePatientBirthDate "study_search_require_patient_birth_date" b"0000";
    StudySearchRequirePatientid "study_search_require_patientid" b"0000";
    AuditView "audit_view" b"1010";
    AnalyticsView "analytics_view" b"1010";
    PathologyUpload "pathology_upload" b"1000";
    FilterShare "filter_share" b"1010";
    FilterEditOnlyOwn "filter_edit_only_own" b"0000";
    CustomfieldView "customfield_view" b"1000";
    CustomfieldList "customfield_list" b"1000";
    CustomfieldEdit "customfield_edit" b"1000";
    CaseView "case_view" b"0000";
    CaseViewOnlyOwn "case_view_only_own" b"0000";
    CaseEdit "case_edit" b"0000";
    CaseEditOnlyOwn "case_edit_only_own" b"0000";
    CaseDelete "case_delete" b"0000";
    CustomcodeView "customcode_view" b"0000";
    CustomcodeEdit "customcode_edit" b"0000";
    CustomcodeDeploy "customcode_deploy" b"0000";
    PatientView "patient_view" b"0000";
    PatientEdit "patient_edit" b"0000";
    PatientMerge "patient_merge" b"0000";
    OrderView "order_view" b"0000";
    OrderEdit "order_edit" b"0000";
    CanProxyLogin "can_proxy_login" b"0000";
    RadreportView "radreport_view" b"0000";
    RadreportViewOnlyOwn "radreport_view_only_own" b"0000";
    RadreportEdit "radreport_edit" b"0000";
    RadreportHtmlFormat "radreport_html_format" b"0000";
    DictionaryView "dictionary_view" b"0000";
    DictionaryEdit "dictionary_edit" b"0000";
    Hl7MessageView "hl7_message_view" b"0000";
    Hl7MessageDelete "hl7_message_delete" b"0000";
    Hl7TemplateView "hl7_template_view" b"0000";
    Hl7TemplateEdit "hl7_template_edit" b"0000";
    Hl7TransformView "hl7_transform_view" b"0000";
    Hl7TransformEdit "hl7_transform_edit" b"0000";
    AnnotationView "annotation_view" b"1111";
    AnnotationViewOnlyOwn "annotation_view_only_own" b"0000";
    AnnotationEdit "annotation_edit" b"1110";
    AnnotationEditOnlyOwn "annotation_edit_only_own" b"1111";
    MeetingView "meeting_view" b"1111";
    MeetingEdit "meeting_edit" b"0000";
    AppointmentView "appointment_view" b"0000";
    AppointmentViewOnlyOwn "appointment_view_only_own" b"0000";
    AppointmentEdit "appointment_edit" b"0000";
    KeyimageView "keyimage_view" b"1111";
    KeyimageEdit "keyimage_edit" b"1110";
    ValidateView "validate_view" b"0000";
    ValidateEdit "validate_edit" b"0000";
    DicomdataView "dicomdata_view" b"0000";
    DicomdataEdit "dicomdata_edit" b"0000";
    PurgeView "purge_view" b"0000";
    PurgeEdit "purge_edit" b"0000";
    LinkDirect "link_direct" b"1100";
    LinkView "link_view" b"0000";
    LinkEdit "link_edit" b"0000";
    LinkEditPin "link_edit_pin" b"0000";
    LinkEditUpload "link_edit_upload" b"0000";
    MessageView "message_view" b"1110";
    MessageEdit "message_edit" b"1010";
    ChannelActivity "channel_activity" b"1110";
    ChannelStudy "channel_study" b"1111";
    NamespaceQuestion "namespace_question" b"1000";
    JobView "job_view" b"1111";
    ScannerAdd "scanner_add" b"0000";
    ScannerEdit "scanner_edit" b"0000";
    ScannerView "scanner_view" b"0000";
    ScannerDelete "scanner_delete" b"0000";
    TerminologyView "terminology_view" b"1000";
    TerminologyEdit "terminology_edit" b"1000";
    QueryAdd "query_add" b"0000";
    QueryEdit "query_edit" b"0000";
    QueryView "query_view" b"0000";
    QueryViewMeta "query_view_meta" b"0000";
    QueryViewOnlyOwn "query_view_only_own" b"1111";
    QueryDelete "query_delete" b"0000";
    QueryReply "query_reply" b"0000";
    QueryAttachmentAdd "query_attachment_add" b"0000";
    QueryAttachmentView "query_attachment_view" b"0000";
    QueryAttachmentDelete "query_attachment_delete" b"0000";
    QueryAttachmentDeleteOnlyOwn "query_attachment_delete_only_own" b"1111";
    QctaskAdd "qctask_add" b"0000";
    QctaskEdit "qctask_edit" b"0000";
    QctaskView "qctask_view" b"0000";
    QctaskDelete "qctask_delete" b"0000";
    QctaskPrioritize "qctask_prioritize" b"0000";
    /// Read instances as they came in, before corrections.
    StudyViewOriginal "study_view_original" b"0000";
    /// Read the change feed of a namespace.
    ChangeView "change_view" b"1000";
    /// Read the list of studies held apart because their patient differs.
    ExceptionView "exception_view" b"1000";
    /// Accept, move or reject studies held apart.
    ExceptionResolve "exception_resolve" b"1000";
    /// Read metrics.
    MetricsView "metrics_view" b"0000";
    /// Read the state of the installation.
    StatusView "status_view" b"0000";
    /// Create, change and delete accounts and namespaces.
    InstallationAccounts "installation_accounts" b"0000";
    /// Create, change and suspend users whatever their account.
    InstallationUsers "installation_users" b"0000";
    /// Rotate and destroy keys.
    InstallationKeys "installation_keys" b"0000";
    /// Everything else of the installation: settings, jobs, backups.
    Administer "administer" b"0000";
    /// List, add and remove the attributes that searches are extended by.
    InstallationExtendedTags "installation_extended_tags" b"0000";
}

impl Permission {
    /// Whether it is about the installation as a whole, so that no role can give it.
    pub const fn is_of_installation(self) -> bool {
        self as u8 >= Self::MetricsView as u8
    }

    /// Whether it is about changing a study, so that nobody has it on a frozen one.
    pub const fn changes_study(self) -> bool {
        matches!(
            self,
            Self::StudyEdit
                | Self::StudyMove
                | Self::StudySplit
                | Self::StudyDuplicate
                | Self::StudyReportUpload
                | Self::StudyReportDelete
                | Self::StudyUpload
                | Self::StudyThin
                | Self::AnnotationEdit
                | Self::KeyimageEdit
                | Self::RadreportEdit
                | Self::DicomdataEdit
                | Self::StudyMerge
                | Self::StudyManualRoute
                | Self::StudyCommentEdit
                | Self::StudyStatusEdit
                | Self::StudyShare
                | Self::StudyDelete
                | Self::StudyDeleteImage
                | Self::StudyAudioRecord
        )
    }

    /// Whether a built-in role permits it.
    pub const fn is_default_of(self, role: BuiltIn) -> bool {
        self.defaults()[role as usize] == b'1'
    }
}
