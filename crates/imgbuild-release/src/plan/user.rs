//! The user of the containers of an image. The default of a program of the
//! release is `NONROOT`, 65532:65532.

use imgbuild_oci::entry::Owner;

use super::{Context, Field};
use crate::error::{Error, Result};
use crate::release::command::Inherited;
use crate::skeleton::{Accounts, NONROOT, UserName};

/// The user, in numbers and as the configuration has it.
pub(super) struct ImageUser {
    pub(super) id: Owner,
    pub(super) text: Option<String>,
}

const ROOT: ImageUser = ImageUser {
    id: Owner::ROOT,
    text: None,
};

/// Finds the numbers of the user in the passwd file that the image will have.
///
/// Without a user of the command line, it is that of the base image. Where the
/// base has none, a program of the base runs as root, as it does there, and
/// one of the release as the user `nonroot`.
pub(super) fn find(context: &Context<'_>) -> Result<ImageUser> {
    let options = context.options;
    let closure = &context.ingredients.closure;
    let accounts = || match &closure.accounts {
        Some(accounts) => accounts.clone(),
        None if options.has_skeleton => Accounts::of_skeleton(),
        None => Accounts::default(),
    };
    let in_numbers = |id: Owner| ImageUser {
        id,
        text: Some(format!("{}:{}", id.uid, id.gid)),
    };

    if let Some(name) = &options.user {
        return Ok(in_numbers(accounts().find(name)?));
    }
    let base_user = context
        .base()
        .map(|base| &base.configuration)
        .and_then(|base| base.user.as_ref());
    if options.configuration.cleared.fields.contains(&Field::User) {
        return Ok(ROOT);
    }
    match base_user {
        Some(text) => {
            let found = accounts().find(&UserName::parse(text));
            let id = found.map_err(|unknown| Error::UnknownBaseUser {
                user: text.clone(),
                unknown,
            })?;
            let text = Some(text.clone());
            Ok(ImageUser { id, text })
        }
        None if closure.command.inherited != Inherited::Nothing => Ok(ROOT),
        None => Ok(in_numbers(NONROOT)),
    }
}
