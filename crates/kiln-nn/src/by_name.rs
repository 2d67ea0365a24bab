//! Modules of one kind, each with a name: heads for several tasks.

use burn::{
    module::{
        AutodiffModule, Content, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper,
        ModuleVisitor,
    },
    tensor::backend::{AutodiffBackend, Backend},
};
use std::{collections::BTreeMap, fmt::Debug};

/// Modules by name; their parameters are called after them, whatever others there are.
#[derive(Debug, Clone)]
pub struct ByName<M>(BTreeMap<String, M>);

impl<M> Default for ByName<M> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<M> FromIterator<(String, M)> for ByName<M> {
    fn from_iter<I: IntoIterator<Item = (String, M)>>(modules: I) -> Self {
        Self(modules.into_iter().collect())
    }
}

impl<M> ByName<M> {
    /// The module of a name.
    pub fn get(&self, name: &str) -> Option<&M> {
        self.0.get(name)
    }

    fn mapped<N>(self, map: impl Fn(M) -> N) -> ByName<N> {
        self.0.into_iter().map(|(name, module)| (name, map(module))).collect()
    }
}

/// The container that visitors are told of.
const CONTAINER: &str = "ByName";

impl<B: Backend, M: Module<B>> Module<B> for ByName<M> {
    /// In the order of names.
    type Record = Vec<M::Record>;

    fn visit<V: ModuleVisitor<B>>(&self, visitor: &mut V) {
        for (name, module) in &self.0 {
            visitor.enter_module(name, CONTAINER);
            module.visit(visitor);
            visitor.exit_module(name, CONTAINER);
        }
    }

    fn map<T: ModuleMapper<B>>(self, mapper: &mut T) -> Self {
        let map = |(name, module): (String, M)| {
            mapper.enter_module(&name, CONTAINER);
            let module = module.map(mapper);
            mapper.exit_module(&name, CONTAINER);
            (name, module)
        };
        self.0.into_iter().map(map).collect()
    }

    fn into_record(self) -> Self::Record {
        self.0.into_values().map(Module::into_record).collect()
    }

    fn load_record(self, record: Self::Record) -> Self {
        let load =
            |((name, module), record): ((String, M), M::Record)| (name, module.load_record(record));
        self.0.into_iter().zip(record).map(load).collect()
    }

    fn to_device(self, device: &B::Device) -> Self {
        self.mapped(|module| module.to_device(device))
    }

    fn fork(self, device: &B::Device) -> Self {
        self.mapped(|module| module.fork(device))
    }

    fn collect_devices(&self, devices: Vec<B::Device>) -> Vec<B::Device> {
        self.0.values().fold(devices, |devices, module| module.collect_devices(devices))
    }
}

impl<M: ModuleDisplay> ModuleDisplayDefault for ByName<M> {
    fn content(&self, content: Content) -> Option<Content> {
        let all = self.0.iter().fold(content, |all, (name, module)| all.add(name, module));
        all.set_top_level_type("ByName").optional()
    }
}

impl<M: ModuleDisplay> ModuleDisplay for ByName<M> {}

impl<B: AutodiffBackend, M: AutodiffModule<B>> AutodiffModule<B> for ByName<M> {
    type InnerModule = ByName<M::InnerModule>;

    fn valid(&self) -> Self::InnerModule {
        self.0.iter().map(|(name, module)| (name.clone(), module.valid())).collect()
    }

    fn from_inner(module: Self::InnerModule) -> Self {
        module.mapped(M::from_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Linear, LinearConfig};
    use burn::{module::Param, tensor::Tensor};
    use burn_flex::Flex;

    #[derive(Module, Debug)]
    struct Heads<B: kiln_core::Backend> {
        heads: ByName<Linear<B>>,
    }

    struct Names(Vec<String>, Vec<String>);

    impl<B: Backend> ModuleVisitor<B> for Names {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.0.push(name.into());
        }

        fn exit_module(&mut self, _: &str, _: &str) {
            self.0.pop();
        }

        fn visit_float<const D: usize>(&mut self, _: &Param<Tensor<B, D>>) {
            self.1.push(self.0.join("."));
        }
    }

    #[test]
    fn parameters_are_called_after_their_module() {
        let device = Default::default();
        let linear = |inputs| LinearConfig::new(inputs, 1).with_bias(false).init(&device);
        let heads = [("order".to_owned(), linear(2)), ("distance".to_owned(), linear(3))];
        let module = Heads::<Flex> { heads: heads.into_iter().collect() };
        let mut names = Names(Vec::new(), Vec::new());
        module.visit(&mut names);
        assert_eq!(names.1, ["heads.distance.weight", "heads.order.weight"]);
        assert_eq!(Module::<Flex>::num_params(&module), 5);
        let other = Heads { heads: module.heads.clone().mapped(|_| linear(9)) };
        let same = other.load_record(module.clone().into_record());
        let weight = |of: &Heads<Flex>| of.heads.get("order").map(|one| one.weight.val().dims());
        assert_eq!((weight(&same), weight(&module)), (Some([2, 1]), Some([2, 1])));
        assert!(module.heads.get("nothing").is_none() && format!("{module}").contains("order"));
    }
}
