// Package matrix runs a test of a feature four times: configured by a standalone file and by custom resources in a real
// Kubernetes API server, and asked over HTTP/1.1 and over HTTP/2.
//
//	func TestRedirect(t *testing.T) {
//		matrix.Run(t, func(t *testing.T, c *matrix.Cell) {
//			c.Serve(t, `
//	  - name: shop
//	    bind_address: '${host}:8080'
//	    upstreams: ['${origin}']
//	`)
//			if r := c.Get(t, "http://shop.example:8080/"); r.Status != 200 { … }
//		})
//	}
//
// The services are always written in the spelling of the file, as items of its `services`. Each cell is a process of its
// own, with an address of its own (${host}), on which every port is free. Contents that references name are written with
// Cell.Write: {file: '${dir}/NAME'} in the configuration is the file, or a key of a Secret.
//
// Serve may be called again: the running proxy then gets the new configuration, and Serve returns when it serves. A cell
// is never skipped.
//
// The package of the tests needs kube.Main in its TestMain.
package matrix
