pub struct Asset { pub path: &'static str, pub content_type: &'static str, pub bytes: &'static [u8], pub etag: String }
pub const HEADERS: &[(&str, &str)] = &[];
pub fn find(_: &str) -> Option<&'static Asset> { None }
pub fn wants_page(_: Option<&str>) -> bool { false }
pub fn is_known(_: &Asset, _: Option<&str>) -> bool { false }
