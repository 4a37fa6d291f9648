// bowser's modules export a class alone; the SDK's bundlers take its method for an export of its own.
import Bowser from "/node_modules/bowser/src/bowser.js";

export const parse = Bowser.parse.bind(Bowser);
