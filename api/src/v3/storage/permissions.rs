//! Which permission stands for which flag of the role templates. The route table names flags; this is where they become
//! permissions.

use septum_core::access::Permission;

/// `study_view`
pub(super) const STUDY_VIEW: Permission = Permission::StudyRead;
/// `study_upload`
pub(super) const STUDY_UPLOAD: Permission = Permission::StudyStore;
/// `study_download`
pub(super) const STUDY_DOWNLOAD: Permission = Permission::StudyExport;
/// `study_delete`
pub(super) const STUDY_DELETE: Permission = Permission::StudyDelete;
/// `study_delete_image`
pub(super) const STUDY_DELETE_IMAGE: Permission = Permission::StudyDelete;
/// `study_split`
pub(super) const STUDY_SPLIT: Permission = Permission::StudyCorrect;
/// `study_merge`
pub(super) const STUDY_MERGE: Permission = Permission::StudyCorrect;
/// `study_clone`
pub(super) const STUDY_CLONE: Permission = Permission::StudyCorrect;
/// `study_edit`
pub(super) const STUDY_EDIT: Permission = Permission::StudyCorrect;
/// `study_report_view`
pub(super) const STUDY_REPORT_VIEW: Permission = Permission::StudyRead;
/// `study_report_upload`
pub(super) const STUDY_REPORT_UPLOAD: Permission = Permission::StudyStore;
/// `study_report_delete`
pub(super) const STUDY_REPORT_DELETE: Permission = Permission::StudyDelete;
