//! Which turns of a conversation go when it does not fit.

/// Finds the fewest of the oldest turns without which a conversation fits. `roles` are the turns' roles; what remains begins with a turn of the user: an
/// answer at the beginning would answer nothing, and a call's result is nothing without its call. `fits` is given the first turn that remains, and says
/// what the conversation from there on has become if that fits; turns before it that are to stay whatever happens, such as the system's, are its affair.
/// The later the beginning, the shorter the conversation has to be. `None`: not even the last turn of the user with what follows it fits.
///
/// # Errors
/// Those of `fits`.
pub fn leave_out<P, E>(roles: &[&str], mut fits: impl FnMut(usize) -> Result<Option<P>, E>) -> Result<Option<P>, E> {
    let begins: Vec<usize> = (1..roles.len()).filter(|&i| roles[i] == "user").collect();
    let (mut low, mut high, mut best) = (0, begins.len(), None);
    while low < high {
        let middle = low + (high - low) / 2;
        match fits(begins[middle])? {
            Some(made) => (high, best) = (middle, Some(made)),
            None => low = middle + 1,
        }
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fewest_turns_go_and_a_user_s_turn_comes_first() {
        let roles = ["system", "user", "assistant", "user", "assistant", "tool", "assistant", "user"];
        for room in 0..=roles.len() {
            let found = leave_out::<usize, ()>(&roles, |begin| Ok((roles.len() - begin <= room).then_some(begin))).unwrap();
            let expected = (1..roles.len()).filter(|&i| roles[i] == "user").find(|&i| roles.len() - i <= room);
            assert_eq!(found, expected, "{room}");
        }
        assert_eq!(leave_out::<usize, ()>(&[], |_| Ok(Some(1))).unwrap(), None);
        assert_eq!(leave_out::<usize, &str>(&["user", "user"], |_| Err("no")), Err("no"));
    }
}
