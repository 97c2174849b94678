package standalone

import "github.com/pingora-proxy/pingora-proxy/api/v1alpha1"

// Settings lists the globals with their variables and without values: what can be set from outside the file.
func Settings() []Setting {
	var out []Setting
	for _, f := range leaves(&shapes{}, &v1alpha1.Globals{}) {
		out = append(out, Setting{Key: f.key, Variable: f.variable()})
	}
	return out
}
