package standalone

import "github.com/pingora-proxy/pingora-proxy/api/settings"

// Settings lists the globals with their variables and without values: what can be set from outside the file.
func Settings() []Setting {
	var out []Setting
	for _, f := range leaves(&shapes{}, &settings.Globals{}) {
		out = append(out, Setting{Key: f.key, Variable: f.variable()})
	}
	return out
}
