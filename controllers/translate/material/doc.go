// Package material is what configurations refer to and do not hold themselves: certificates with their keys, and contents of
// files, Secrets and ConfigMaps. Sources find it; the translation uses it.
package material
