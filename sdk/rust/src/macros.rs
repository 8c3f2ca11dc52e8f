//! The two export macros. Each makes the component's exports on wasm, and elsewhere the test that makes the manifest.

/// Makes a type that is [`Channel`](crate::Channel), `Deserialize` and `JsonSchema` the plugin's channel.
///
/// What follows the type goes into the manifest; each key is a method of [`Manifest`](crate::manifest::Manifest):
/// `description` (else the crate's), `http`, `secrets`, `smtp`, `secrets_in_body`, `memory_mib`, `cpu_ms`, `wall_ms`.
#[macro_export]
macro_rules! channel {
    ($settings:ty $({ $($key:ident : $value:expr),* $(,)? })?) => {
        const _: fn() = $crate::__private::is_channel::<$settings>;
        $crate::__export!($settings, channel, Channel, $($($key: $value),*)?);
    };
}

/// Makes a type that is [`Router`](crate::Router), `Deserialize` and `JsonSchema` the plugin's router.
///
/// What follows the type goes into the manifest, as for [`channel!`](crate::channel); a router asks for no permission.
#[macro_export]
macro_rules! router {
    ($settings:ty $({ $($key:ident : $value:expr),* $(,)? })?) => {
        const _: fn() = $crate::__private::is_router::<$settings>;
        $crate::__export!($settings, router, Router, $($($key: $value),*)?);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    ($settings:ty, $module:ident, $kind:ident, $($key:ident : $value:expr),*) => {
        #[cfg(target_family = "wasm")]
        #[allow(unsafe_code, reason = "the generated exports have to name their symbols")]
        const _: () = {
            type FanfareExports = $crate::__private::$module::Component<$settings>;
            $crate::__private::$module::export!(FanfareExports with_types_in $crate::__private::$module::bindings);
        };

        #[cfg(all(test, not(target_family = "wasm")))]
        #[test]
        fn fanfare_manifest() {
            let (name, version) = (env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
            let about = env!("CARGO_PKG_DESCRIPTION");
            let manifest = $crate::manifest::Manifest::of::<$settings>(
                $crate::manifest::Kind::$kind, name, version, about
            )$(.$key($value))*;
            assert_eq!($crate::manifest::emit(&manifest), Ok(()));
        }
    };
}
