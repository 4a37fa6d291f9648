// A merchant's page without the page: the stock RES client, told what to watch, says what it saw as lines of JSON.
const ResClient = require("resclient").default;
const WebSocket = require("ws");

const [url, shop, other, token] = process.argv.slice(2);
const client = new ResClient(() => new WebSocket(url));
const say = (line) => console.log(JSON.stringify(line));
const refused = (rid) => client.get(rid).then(() => "shown", (error) => error.code);

async function main() {
    const rid = `updates.store.${shop}`;
    const before = await refused(rid);
    await client.authenticate("updates", "login", { token });
    const collection = await client.get(rid);
    let removed;
    collection.on("remove", (event) => { removed = event.idx; });
    collection.on("add", () => setTimeout(async () => {
        const { product_id, UPC, product_price } = collection.atIndex(collection.length - 1);
        say({ added: { product_id, UPC, product_price }, removed, length: collection.length });
        const result = await client.call(rid, "send", { shop_id: shop, data: "hello" });
        say({ called: result.status });
        process.exit(0);
    }, 100));
    say({ before, other: await refused(`updates.store.${other}`), length: collection.length });
}

main().catch((error) => { console.error(error); process.exit(1); });
