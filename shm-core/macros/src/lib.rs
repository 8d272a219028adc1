//! The derive macro of `shm-core`; use it through that crate.

use proc_macro::TokenStream;
use proc_macro2::TokenStream as Tokens;
use quote::quote;
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Error, Fields, LitInt, LitStr, Result, parse_macro_input};

/// Implements `ShmSafe` for a `#[repr(C)]` struct whose fields all are, without padding.
///
/// The structural hash uses the struct's name, or `#[shm(name = "…")]`, and `#[shm(version = N)]`.
#[proc_macro_derive(ShmSafe, attributes(shm))]
pub fn derive_shm_safe(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand(&input).unwrap_or_else(Error::into_compile_error).into()
}

fn expand(input: &DeriveInput) -> Result<Tokens> {
    let fields = named_fields(input)?;
    require_repr_c(input)?;
    let Identity { name, version } = identity(input)?;
    let ident = &input.ident;
    let types: Vec<_> = fields.iter().map(|field| &field.ty).collect();
    let idents: Vec<_> = fields.iter().filter_map(|field| field.ident.as_ref()).collect();
    let names: Vec<_> = idents.iter().map(|ident| ident.unraw().to_string()).collect();
    Ok(quote! {
        // Both checks name the mistake at compile time.
        const _: () = {
            const fn field_must_be_shm_safe<T: ::shm_core::ShmSafe>() -> usize {
                ::core::mem::size_of::<T>()
            }
            ::core::assert!(
                ::core::mem::size_of::<#ident>() == 0 #( + field_must_be_shm_safe::<#types>() )*,
                "this struct has padding between or after its fields: reorder them by falling size, or add a field such as `_pad: [u8; 4]`",
            );
            ::core::assert!(
                !::core::mem::needs_drop::<#ident>(),
                "a type in shared memory must not need `Drop`: nobody would run it",
            );
        };
        // SAFETY: `repr(C)`; every field is `ShmSafe`, so any bit pattern is a value and there is
        // no pointer; no padding and no `Drop`, as asserted above; offsets are the compiler's.
        unsafe impl ::shm_core::ShmSafe for #ident {
            const LAYOUT: ::shm_core::layout::Layout = ::shm_core::layout::Layout {
                name: #name,
                size: ::core::mem::size_of::<#ident>(),
                align: ::core::mem::align_of::<#ident>(),
                shape: ::shm_core::layout::Shape::Record {
                    version: #version,
                    fields: &[ #( ::shm_core::layout::Field {
                        name: #names,
                        offset: ::core::mem::offset_of!(#ident, #idents),
                        layout: &<#types as ::shm_core::ShmSafe>::LAYOUT,
                    } ),* ],
                },
            };
        }
    })
}

fn named_fields(
    input: &DeriveInput,
) -> Result<&syn::punctuated::Punctuated<syn::Field, syn::token::Comma>> {
    if let Some(param) = input.generics.params.first() {
        return Err(Error::new(
            param.span(),
            "`ShmSafe` cannot be derived for a generic struct: both processes must agree on one layout",
        ));
    }
    match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) => Ok(&fields.named),
            other => Err(Error::new(
                other.span(),
                "`ShmSafe` needs named fields: columns are found by name",
            )),
        },
        Data::Enum(data) => Err(Error::new(
            data.enum_token.span(),
            "an enum cannot lie in shared memory: another process could write a number that is no variant; store a `u8` and convert",
        )),
        Data::Union(data) => Err(Error::new(
            data.union_token.span(),
            "a union cannot lie in shared memory; use `[u8; N]`",
        )),
    }
}

fn require_repr_c(input: &DeriveInput) -> Result<()> {
    let mut found = false;
    for attr in input.attrs.iter().filter(|attr| attr.path().is_ident("repr")) {
        attr.parse_nested_meta(|meta| {
            if meta.path.is_ident("C") {
                found = true;
            } else if meta.input.peek(syn::token::Paren) {
                let _: proc_macro2::Group = meta.input.parse()?;
            }
            Ok(())
        })?;
    }
    if found {
        return Ok(());
    }
    Err(Error::new(
        input.ident.span(),
        "add `#[repr(C)]`: without it two compilations may order the fields differently",
    ))
}

struct Identity {
    name: String,
    version: u32,
}

fn identity(input: &DeriveInput) -> Result<Identity> {
    let mut identity = Identity { name: input.ident.unraw().to_string(), version: 0 };
    for attr in input.attrs.iter().filter(|attr| attr.path().is_ident("shm")) {
        attr.parse_nested_meta(|meta| {
            if meta.path.is_ident("name") {
                identity.name = meta.value()?.parse::<LitStr>()?.value();
            } else if meta.path.is_ident("version") {
                identity.version = meta.value()?.parse::<LitInt>()?.base10_parse()?;
            } else {
                return Err(meta.error("expected `name = \"…\"` or `version = N`"));
            }
            Ok(())
        })?;
    }
    Ok(identity)
}
