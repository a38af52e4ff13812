/// x
#[derive(Debug, thiserror::Error)]
pub enum FileFault {}
