// Package contents finds what objects refer to: certificates, keys and other contents of Secrets and ConfigMaps. The
// cache holds the metadata of all of them, which is little; a content is read once a version, and only where it is named
// and may be.
//
// What they mean is left to controllers/translate, and so is telling the owner of an object what is wrong.
package contents
