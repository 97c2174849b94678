// Package outline writes a whole snapshot down as a tree of names and texts, which can be shown to anybody who may see the
// configuration, sent to another process, and compared.
//
// It reads the types themselves, so that a field that is new is in it without a line here. What may be secret is a digest
// with a salt: one can see that it has changed, and no more. See Of for what counts as secret.
package outline
