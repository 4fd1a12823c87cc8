//! Rights: what is permitted, what is denied and how fields may be used, in one scope.

use super::fields::FieldRights;
use super::flags::Permission;

const WORDS: usize = Permission::ALL.len().div_ceil(64);

/// A set of permissions, one bit each.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct FlagSet([u64; WORDS]);

impl FlagSet {
    /// No permission.
    pub const EMPTY: Self = Self([0; WORDS]);

    /// Whether the permission is in the set.
    pub const fn contains(&self, permission: Permission) -> bool {
        let number = permission as usize;
        self.0[number / 64] >> (number % 64) & 1 == 1
    }

    /// Puts a permission in.
    pub fn insert(&mut self, permission: Permission) {
        let number = permission as usize;
        self.0[number / 64] |= 1 << (number % 64);
    }

    /// Takes a permission out.
    pub fn remove(&mut self, permission: Permission) {
        let number = permission as usize;
        self.0[number / 64] &= !(1 << (number % 64));
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|&word| word == 0)
    }

    /// What is in either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|word| self.0[word] | other.0[word]))
    }

    /// What is in this one and not in the other.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|word| self.0[word] & !other.0[word]))
    }

    /// The permissions, ascending.
    pub fn iter(&self) -> impl Iterator<Item = Permission> {
        Permission::ALL
            .iter()
            .copied()
            .filter(|&permission| self.contains(permission))
    }
}

impl FromIterator<Permission> for FlagSet {
    fn from_iter<T: IntoIterator<Item = Permission>>(permissions: T) -> Self {
        let mut set = Self::EMPTY;
        for permission in permissions {
            set.insert(permission);
        }
        set
    }
}

impl std::fmt::Debug for FlagSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter().map(Permission::name)).finish()
    }
}

/// What all roles together say in one scope.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rights {
    /// Permitted, unless denied.
    pub permitted: FlagSet,
    /// Denied, whatever permits.
    pub denied: FlagSet,
    /// How fields may be used.
    pub fields: FieldRights,
}

impl Rights {
    /// Adds another role's: permits and denies add up, of two field rights the narrower counts.
    pub fn add(&mut self, other: &Self) {
        self.permitted = self.permitted.union(&other.permitted);
        self.denied = self.denied.union(&other.denied);
        self.fields.narrow(&other.fields);
    }

    /// What holds in the end.
    pub fn effective(&self) -> FlagSet {
        self.permitted.without(&self.denied)
    }
}
