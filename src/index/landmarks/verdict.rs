use super::votes::Alignment;
pub(super) fn same_recording(alignments: &[Alignment]) -> impl Iterator<Item = &Alignment> {
    alignments.iter().filter(|a| a.log_chance < -14.0)
}
