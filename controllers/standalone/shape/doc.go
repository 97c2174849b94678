// Package shape knows the fields of the schema's types by the names that they have in a file and in an object.
package shape
