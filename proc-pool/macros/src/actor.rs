//! `#[proc_pool::actor]`.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote};
use syn::spanned::Spanned;
use syn::{
    Error, FnArg, Ident, ImplItem, ImplItemFn, ItemImpl, Pat, Result, ReturnType, Type, Visibility,
};

/// The impl block as it is, tasks for its constructor and its public methods, and typed handles.
pub fn expand(mut block: ItemImpl) -> Result<TokenStream> {
    let actor = name_of(&block)?;
    let mut constructor = None;
    let mut methods = Vec::new();
    for item in &mut block.items {
        let ImplItem::Fn(function) = item else { continue };
        let pure = take_pure(function);
        if function.sig.receiver().is_some() {
            if !matches!(function.vis, Visibility::Inherited) {
                methods.push(Method::of(function, pure)?);
            }
        } else if function.sig.ident == "new" {
            constructor = Some(Method::of(function, pure)?);
        }
    }
    let Some(constructor) = constructor else {
        return Err(Error::new(
            block.self_ty.span(),
            "an actor needs a constructor: `fn new(…) -> Self`, or `-> Result<Self, E>`; it runs in the actor's process",
        ));
    };
    let tasks = methods.iter().map(|method| method.task(&actor));
    let new_task = constructor.constructor_task(&actor);
    let handles = handles(&actor, &constructor, &methods);
    Ok(quote! {
        #block
        #new_task
        #(#tasks)*
        #handles
    })
}

fn name_of(block: &ItemImpl) -> Result<Ident> {
    if let Some(first) = block.generics.params.first() {
        let message = "an actor cannot be generic: parent and worker must agree on one type";
        return Err(Error::new(first.span(), message));
    }
    if block.trait_.is_some() {
        let message = "#[proc_pool::actor] goes on the type's own `impl` block, not on a trait's";
        return Err(Error::new(block.span(), message));
    }
    match &*block.self_ty {
        Type::Path(path) => match path.path.get_ident() {
            Some(name) => Ok(name.clone()),
            None => {
                Err(Error::new(path.span(), "name the actor's type plainly, in its own module"))
            }
        },
        other => Err(Error::new(other.span(), "an actor is a struct or an enum")),
    }
}

/// A variable of the macro's own: one of the user's with the same name is another.
fn own(name: &str) -> Ident {
    Ident::new(name, Span::mixed_site())
}

/// Takes the mark `#[pure]` off a method; whether it was there.
fn take_pure(function: &mut ImplItemFn) -> bool {
    let before = function.attrs.len();
    function.attrs.retain(|attribute| !attribute.path().is_ident("pure"));
    function.attrs.len() < before
}

/// A method or the constructor.
struct Method {
    vis: Visibility,
    name: Ident,
    docs: Vec<syn::Attribute>,
    names: Vec<Ident>,
    types: Vec<Type>,
    output: TokenStream,
    plain: bool,
    pure: bool,
}

impl Method {
    fn of(function: &ImplItemFn, pure: bool) -> Result<Method> {
        let signature = &function.sig;
        let by_reference = signature
            .receiver()
            .is_none_or(|receiver| matches!(receiver.kind, syn::ReceiverKind::Reference(..)));
        if !by_reference {
            let message =
                "an actor's method takes `&self` or `&mut self`: the actor stays where it is";
            return Err(Error::new(signature.span(), message));
        }
        if signature.asyncness.is_some() || !signature.generics.params.is_empty() {
            let message = "an actor's method is a plain function: not async, not generic";
            return Err(Error::new(signature.span(), message));
        }
        let mut names = Vec::new();
        let mut types = Vec::new();
        for (index, argument) in signature.inputs.iter().enumerate() {
            let FnArg::Typed(argument) = argument else { continue };
            names.push(match &*argument.pat {
                Pat::Ident(name) => name.ident.clone(),
                _ => own(&format!("argument_{index}")),
            });
            types.push((*argument.ty).clone());
        }
        let output = match &signature.output {
            ReturnType::Default => quote!(()),
            ReturnType::Type(_, ty) => quote!(#ty),
        };
        let plain = match &signature.output {
            ReturnType::Type(_, ty) => !quote!(#ty).to_string().contains("Result"),
            ReturnType::Default => true,
        };
        let docs = function.attrs.iter().filter(|a| a.path().is_ident("doc")).cloned().collect();
        Ok(Method {
            vis: function.vis.clone(),
            name: signature.ident.clone(),
            docs,
            names,
            types,
            output,
            plain,
            pure,
        })
    }

    fn task_name(&self, actor: &Ident) -> Ident {
        Ident::new(&format!("__{actor}_{}", self.name), Span::call_site())
    }

    fn attribute(&self) -> TokenStream {
        if self.pure { quote!(#[::proc_pool::task(pure)]) } else { quote!(#[::proc_pool::task]) }
    }

    fn task(&self, actor: &Ident) -> TokenStream {
        let Method { vis, name, names, types, output, .. } = self;
        let (task, attribute) = (self.task_name(actor), self.attribute());
        let state = own("state");
        quote! {
            #attribute
            #[doc(hidden)]
            #vis fn #task(#(#names: #types),*) -> #output {
                ::proc_pool::worker_state::with(|#state: &mut #actor| #state.#name(#(#names),*))
            }
        }
    }

    fn constructor_task(&self, actor: &Ident) -> TokenStream {
        let Method { vis, names, types, plain, .. } = self;
        let task = self.task_name(actor);
        let make = if *plain {
            quote!(::core::result::Result::Ok::<#actor, ::std::string::String>(#actor::new(#(#names),*)))
        } else {
            quote!(#actor::new(#(#names),*))
        };
        quote! {
            #[::proc_pool::task]
            #[doc(hidden)]
            #vis fn #task(#(#names: #types),*)
                -> ::core::result::Result<(), ::std::string::String>
            {
                match #make {
                    ::core::result::Result::Ok(actor) => {
                        ::proc_pool::worker_state::set(actor);
                        ::core::result::Result::Ok(())
                    }
                    ::core::result::Result::Err(error) => {
                        ::core::result::Result::Err(::std::string::ToString::to_string(&error))
                    }
                }
            }
        }
    }

    fn input(&self) -> TokenStream {
        match self.names.as_slice() {
            [one] => quote!(#one),
            many => quote!((#(#many),*)),
        }
    }
}

fn handles(actor: &Ident, constructor: &Method, methods: &[Method]) -> TokenStream {
    let handle = format_ident!("{actor}Handle");
    let group = format_ident!("{actor}Group");
    let (vis, names, types) = (&constructor.vis, &constructor.names, &constructor.types);
    let (new_task, input) = (constructor.task_name(actor), constructor.input());
    let (options, size) = (own("options"), own("size"));
    let calls = methods.iter().map(|method| method.call(actor));
    let broadcasts = methods.iter().map(|method| method.broadcast(actor));
    let handle_doc = format!("Reaches a [`{actor}`] in a process of its own.");
    let group_doc = format!("Reaches several [`{actor}`]s, each in a process of its own.");
    quote! {
        impl ::proc_pool::Actor for #actor {
            type New = #new_task;
            type Handle = #handle;
            const NEW: #new_task = #new_task;
        }

        impl #actor {
            /// Starts one in a process of its own; returns once it is constructed.
            #vis fn spawn(#(#names: #types),*)
                -> ::core::result::Result<#handle, ::proc_pool::PoolError>
            {
                #actor::spawn_with(::proc_pool::ActorOptions::new() #(, #names)*)
            }

            /// As `spawn`, with options.
            #vis fn spawn_with(#options: ::proc_pool::ActorOptions #(, #names: #types)*)
                -> ::core::result::Result<#handle, ::proc_pool::PoolError>
            {
                ::proc_pool::ActorHandle::spawn(#options, #input).map(#handle)
            }

            /// Starts several, each in a process of its own.
            #vis fn spawn_group(
                #options: ::proc_pool::ActorOptions,
                #size: usize
                #(, #names: #types)*
            )
                -> ::core::result::Result<#group, ::proc_pool::PoolError>
            {
                ::proc_pool::ActorGroup::spawn(#options, #size, #input).map(#group)
            }
        }

        #[doc = #handle_doc]
        #[derive(Clone, Debug)]
        #[allow(dead_code)]
        #vis struct #handle(::proc_pool::ActorHandle<#actor>);

        #[allow(dead_code)]
        impl #handle {
            #(#calls)*
        }

        impl ::core::convert::From<::proc_pool::ActorHandle<#actor>> for #handle {
            fn from(handle: ::proc_pool::ActorHandle<#actor>) -> Self {
                #handle(handle)
            }
        }

        impl ::core::ops::Deref for #handle {
            type Target = ::proc_pool::ActorHandle<#actor>;

            fn deref(&self) -> &Self::Target {
                &self.0
            }
        }

        #[doc = #group_doc]
        #[derive(Debug)]
        #[allow(dead_code)]
        #vis struct #group(::proc_pool::ActorGroup<#actor>);

        #[allow(dead_code)]
        impl #group {
            #(#broadcasts)*
        }

        impl ::core::ops::Deref for #group {
            type Target = ::proc_pool::ActorGroup<#actor>;

            fn deref(&self) -> &Self::Target {
                &self.0
            }
        }
    }
}

impl Method {
    fn call(&self, actor: &Ident) -> TokenStream {
        let Method { vis, name, docs, names, types, .. } = self;
        let (task, input) = (self.task_name(actor), self.input());
        let doc = format!("Has the actor run [`{name}`]({actor}::{name}).");
        let docs = if docs.is_empty() { quote!(#[doc = #doc]) } else { quote!(#(#docs)*) };
        quote! {
            #docs
            #vis fn #name(&self #(, #names: #types)*) -> ::proc_pool::TaskHandle<#task> {
                self.0.call(#task, #input)
            }
        }
    }

    fn broadcast(&self, actor: &Ident) -> TokenStream {
        let Method { vis, name, docs, names, types, .. } = self;
        let (task, input) = (self.task_name(actor), self.input());
        let doc = format!("Has every actor run [`{name}`]({actor}::{name}).");
        let docs = if docs.is_empty() { quote!(#[doc = #doc]) } else { quote!(#(#docs)*) };
        let bound = if types.is_empty() {
            quote!()
        } else {
            quote!(where (#(#types,)*): ::core::clone::Clone)
        };
        quote! {
            #docs
            #vis fn #name(&self #(, #names: #types)*) -> ::proc_pool::Calls<#task> #bound {
                self.0.broadcast(#task, #input)
            }
        }
    }
}
