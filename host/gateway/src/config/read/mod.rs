//! Reading a configuration's text into typed values, with the place of each: the tree, the overrides laid over
//! it, and the sections that hand out its keys and refuse what nobody asked for.

pub(super) mod overrides;
pub(super) mod quantity;
pub(super) mod section;
pub(super) mod suggest;
pub(super) mod tree;
