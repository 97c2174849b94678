// Package authority issues certificates to clients and servers of tests.
package authority
