package standalone

import (
	"reflect"

	"github.com/pingora-proxy/pingora-proxy/api/settings"
	"github.com/pingora-proxy/pingora-proxy/controllers/standalone/shape"
)

// Settings lists the globals with their variables and without values: what can be set from outside the file.
func Settings() []Setting {
	var out []Setting
	for _, f := range new(shape.Shapes).Leaves(reflect.ValueOf(&settings.Globals{}).Elem()) {
		out = append(out, Setting{Key: f.Key, Variable: f.Variable()})
	}
	return out
}
