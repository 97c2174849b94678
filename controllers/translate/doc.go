// Package translate turns what users write (api/v1alpha1) into what the data plane serves (dataplane/snapshot). It is the
// one place where the two meet, and pure: the same input gives the same snapshot.
//
// It sees all services at once, because two of them may claim one address or one request. Reading files and objects,
// defaults and the rules of single fields are left to its callers and to the schema itself.
package translate
