//! A graph whose links are still lists: the last steps, whoever built it.

use super::{Graph, Layer};

/// Links by layer and point, before they become tables.
pub(super) struct Lists {
    /// The top layer of each point.
    pub(super) levels: Vec<usize>,
    /// `[layer][point]`: points, nearest first.
    pub(super) links: Vec<Vec<Vec<u32>>>,
    /// A point of the top layer.
    pub(super) entry: u32,
}

impl Lists {
    /// Sees to it that every point can be reached, and makes the tables.
    pub(super) fn freeze(mut self) -> Graph {
        reach_all(&mut self.links[0], self.entry);
        let mut layers = Vec::with_capacity(self.links.len());
        for (height, lists) in self.links.into_iter().enumerate() {
            let nodes: Vec<u32> = (0..lists.len() as u32)
                .filter(|&point| self.levels[point as usize] >= height)
                .collect();
            let mut offsets = vec![0];
            let mut links = Vec::new();
            for &point in &nodes {
                let list = &lists[point as usize];
                if height == 0 {
                    links.extend(list);
                } else {
                    let local = |link: &u32| nodes.partition_point(|node| node < link) as u32;
                    links.extend(list.iter().map(local));
                }
                offsets.push(links.len() as u32);
            }
            layers.push(Layer {
                nodes: if height > 0 { nodes } else { Vec::new() }.into(),
                offsets: offsets.into(),
                links: links.into(),
            });
        }
        let entry = match layers.last() {
            Some(top) => top.node(self.entry),
            None => 0,
        };
        Graph { layers, entry }
    }
}

/// Links every point that no path from the entry leads to: when a list is full the farthest link is
/// dropped, and that may have been the only one to its point.
fn reach_all(links: &mut [Vec<u32>], entry: u32) {
    let mut reached = vec![false; links.len()];
    let mut open = vec![entry];
    reached[entry as usize] = true;
    let mut next = 0;
    loop {
        while let Some(point) = open.pop() {
            for &link in &links[point as usize] {
                if !std::mem::replace(&mut reached[link as usize], true) {
                    open.push(link);
                }
            }
        }
        let Some(lost) = (next..links.len()).find(|&point| !reached[point]) else {
            return;
        };
        next = lost;
        // Lists are sorted by distance: the first that is reached is the nearest.
        let near = links[lost]
            .iter()
            .copied()
            .find(|&link| reached[link as usize]);
        let from = near.unwrap_or(entry);
        links[from as usize].push(lost as u32);
        if near.is_none() {
            links[lost].push(entry);
        }
        reached[lost] = true;
        open.push(lost as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_points_are_linked_to_their_nearest_reached_one() {
        // 3 knows a reached point, 4 knows only 3, 5 knows nobody.
        let mut links = vec![vec![1], vec![2], vec![0], vec![4, 2, 1], vec![3], vec![]];
        reach_all(&mut links, 0);
        assert_eq!(
            links,
            [
                vec![1, 5],
                vec![2],
                vec![0, 3],
                vec![4, 2, 1],
                vec![3],
                vec![0]
            ]
        );
    }
}
