// What TestRecipes runs the recipe for Knex with. RECIPE is replaced by the
// code of docs/recipes.md.
'use strict';

RECIPE

const knex = require('knex')({
  client: 'pg',
  connection: process.env.DATABASE_URL,
  pool: { min: 1, max: 1 }, // one connection for all: whatever stays on it shows
});

(async () => {
  const item = process.env.ITEM;
  await asUser(knex, { user: 'u-17', route: '/orders', request: 'r-1' }, (trx) => trx('orders').insert({ item }));
  await asUser(knex, { user: 'u-42', route: '/orders/:id', request: 'r-2' }, (trx) => trx('orders').where({ item }).update({ total: 1 }));
  await knex('orders').where({ item }).update({ total: 2 }); // nobody
  await knex.destroy();
})();
