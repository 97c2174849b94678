// Package validation says what is wrong with a configuration: with the settings of one service (Service) and of the
// process (Globals), in the sentences of Kubernetes' validation. It is pure.
//
// Bounds and enumerations stand as markers beside the fields of api/v1alpha1; the generator writes them down in
// zz_generated.bounds.go, which is read here. What a text must look like is said by api/syntax. Whether things that are
// named exist is left to the controllers.
package validation
